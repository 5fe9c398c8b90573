"""Ray Train around the plain loop. With `worker.py`, which it starts, the only place that knows of it.

    outcome = train(config, [dataset_uri], run_name=config.run_name, resources=Resources(), places=settings.get())

A run is known by (storage, run name). Whoever starts it again under the same name goes on at its last checkpoint.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
from ray.train import (
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
)
from ray.train.torch import TorchConfig, TorchTrainer

from adodn import settings
from adodn.config import ExperimentConfig
from adodn.errors import AdodnError, CheckpointError
from adodn.publish import Outcome
from adodn.settings import Settings
from adodn.train import worker
from adodn.train.driver import check, conclude, start_tracking
from adodn.train.loop import val_metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Where and how a training runs. Changes its speed, never its result."""

    num_workers: int = 2
    use_gpu: bool = False
    cpus_per_worker: float = 1.0
    loader_threads: int = 1
    micro_batch: int | None = None
    """Faces that go through a worker's network at a time, for less memory; None: its whole share of the batch."""
    checkpoint_every_steps: int | None = None
    """Checkpoints between epochs; None: at the end of each epoch only."""
    max_failures: int = 3
    """How many times the workers are started again after one died."""


def train(
    config: ExperimentConfig,
    dataset_uris: Sequence[str],
    *,
    run_name: str,
    resources: Resources,
    places: Settings,
    tags: Mapping[str, str] | None = None,
    callbacks: Sequence[Any] = (),
) -> Outcome:
    """Train, or go on training, on the Ray cluster at hand.

    Args:
        config: The experiment, already on its data (`loaders.on_data`).
        dataset_uris: Where the manifest lies, or those of all datasets that are mixed.
        run_name: Names the run in storage and in MLflow.
        resources: Where it runs.
        places: Endpoints and credentials.
        tags: Of the run in MLflow, beside its own.
        callbacks: Ray Train's, that hear of each epoch.

    Raises:
        ConfigError: If the workers cannot share the global batch, or a setting does not fit the network.
        AdodnError: Whatever stopped the workers for good.
    """
    check(config, resources.num_workers, resources.micro_batch)
    more = {"workers": str(resources.num_workers), **(tags or {})}
    tracker = start_tracking(config, dataset_uris, run_name, more, places)
    trainer = TorchTrainer(
        worker.run,
        train_loop_config={
            "config": config.to_json(),
            "share": {
                "dataset_uris": tuple(dataset_uris),
                "micro_batch": resources.micro_batch,
                "loader_threads": resources.loader_threads,
                "torch_threads": max(1, round(resources.cpus_per_worker)),
            },
            "tracking_run_id": tracker.run_id,
            "checkpoint_every_steps": resources.checkpoint_every_steps,
        },
        scaling_config=_scaling(resources),
        # Gradients and running statistics lie on the GPU, sums for metrics do not.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if resources.use_gpu else "gloo"),
        run_config=_run_config(run_name, resources, places, val_metric(config), callbacks),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        tracker.finish("FAILED")
        raise _cause(error) from error
    except BaseException:
        tracker.finish("KILLED")
        raise
    return conclude(tracker, _outcome(result, run_name, tracker.run_id, val_metric(config)), places)


def _scaling(resources: Resources) -> ScalingConfig:
    return ScalingConfig(
        num_workers=resources.num_workers,
        use_gpu=resources.use_gpu,
        resources_per_worker={"CPU": resources.cpus_per_worker} | ({"GPU": 1} if resources.use_gpu else {}),
    )


def _run_config(
    run_name: str, resources: Resources, places: Settings, metric: str, callbacks: Sequence[Any]
) -> RunConfig:
    return RunConfig(
        name=run_name,
        storage_path=places.runs_uri.removeprefix("s3://"),
        storage_filesystem=filesystem(places),
        callbacks=[worker.GiveUp(), *callbacks],
        failure_config=FailureConfig(max_failures=resources.max_failures, controller_failure_limit=2),
        # One checkpoint of the best epoch, and always the last.
        checkpoint_config=CheckpointConfig(
            num_to_keep=1, checkpoint_score_attribute=metric, checkpoint_score_order="min"
        ),
        logging_config=LoggingConfig(log_level="WARNING"),
    )


class _Filesystem(pyarrow.fs.S3FileSystem):  # type: ignore[misc]  # pyarrow is not typed
    """A store that travels without its keys, because Ray Tune pickles it into a file on that very store."""

    where: dict[str, str]

    def __reduce__(self) -> tuple[Any, tuple[dict[str, str]]]:
        return _with_own_keys, (self.where,)


def filesystem(places: Settings) -> pyarrow.fs.S3FileSystem:
    """The store of the settings, as Ray writes to it; in another process, with that one's keys."""
    endpoint = urlsplit(places.s3_endpoint_url)
    store = _Filesystem(
        access_key=places.s3_access_key,
        secret_key=places.s3_secret_key.get_secret_value(),
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region=places.s3_region,
    )
    store.where = {"s3_endpoint_url": places.s3_endpoint_url, "s3_region": places.s3_region}
    return store


def _with_own_keys(where: dict[str, str]) -> pyarrow.fs.S3FileSystem:
    return filesystem(settings.get().model_copy(update=where))


def _outcome(result: Any, run_name: str, tracking_run_id: str, metric: str) -> Outcome:
    if not result.best_checkpoints:
        raise CheckpointError(f"run {run_name!r} left no checkpoint; train it again under another run name")
    best, metrics = min(result.best_checkpoints, key=lambda pair: pair[1][metric])
    return Outcome(
        run_name=run_name,
        checkpoint_uri=f"s3://{best.path}",
        val_nme=metrics[metric],
        epochs=int(result.metrics["epoch"]),
        tracking_run_id=tracking_run_id,
    )


def _cause(error: Exception) -> Exception:
    """The error of our own that ended the training, if it was one, else what Ray says."""
    if isinstance(error, ray.train.ControllerError):
        return error.controller_failure if isinstance(error.controller_failure, AdodnError) else error
    return worker.own_error(getattr(error, "worker_failures", {})) or error


def connect(address: str | None, *, show_workers: bool = True) -> None:
    """Join the Ray cluster at `address`, or the one whose job this is, or start one for this process alone.

    Args:
        address: host:port of its head.
        show_workers: Print what the workers print.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        # A busy laptop takes longer than Ray's 60 s to import torch in every worker.
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "240")
        ray.init(address=address, log_to_driver=show_workers)
