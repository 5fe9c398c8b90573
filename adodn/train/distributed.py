"""Ray Train around the plain loop: the only place that knows of Ray.

    outcome = train(config, [dataset_uri], run_name=config.run_name, resources=Resources(), places=settings.get())

A run is known by (storage, run name). Whoever starts it again under the same name goes on at its last checkpoint.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
import torch
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    CheckpointUploadMode,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
)
from ray.train.torch import TorchConfig, TorchTrainer

from adodn import models, settings
from adodn.config import ExperimentConfig, check_micro_batch, local_batch
from adodn.data.cache import ShardCache
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import AdodnError, CheckpointError
from adodn.occlusion.patterns import Patterns
from adodn.plots import history_figure, spectrum_figure
from adodn.provenance import git_commit
from adodn.publish import Outcome, load_checkpoint, write_outcome
from adodn.settings import Settings
from adodn.tracking import DatasetRef, Tracker, params_of
from adodn.train import checkpoint
from adodn.train.determinism import prepare_process
from adodn.train.frozen import freeze
from adodn.train.initial import get_by_digest, start_from_weights
from adodn.train.loaders import Supply, check_datasets, open_loaders
from adodn.train.loop import fit, synchronise, val_metric
from adodn.train.optimiser import parameter_groups
from adodn.train.peers import rank
from adodn.train.spectrum import spectra_of_training
from adodn.train.state import TrainState, build_state
from adodn.train.uploads import Uploads


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
    _check(config, resources)
    more = {"workers": str(resources.num_workers), **(tags or {})}
    tracker = _start_tracking(config, dataset_uris, run_name, more, places)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "config": config.to_json(),
            "dataset_uris": list(dataset_uris),
            "tracking_run_id": tracker.run_id,
            "checkpoint_every_steps": resources.checkpoint_every_steps,
            "micro_batch": resources.micro_batch,
            "loader_threads": resources.loader_threads,
            "torch_threads": max(1, round(resources.cpus_per_worker)),
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
    outcome = _outcome(result, run_name, tracker.run_id, val_metric(config))
    write_outcome(outcome, places)
    # Its address, not its bytes: the checkpoint lies on the same S3 as MLflow's files.
    tracker.tag("checkpoint", outcome.checkpoint_uri)
    _log_pictures(tracker, outcome, places)
    tracker.finish("FINISHED")
    return outcome


def _log_pictures(tracker: Tracker, outcome: Outcome, places: Settings) -> None:
    tracker.log_bytes("training/history.png", history_figure(tracker.history()))
    best, config = load_checkpoint(outcome.checkpoint_uri, places)
    spectra = spectra_of_training(config, best, S3Store.from_settings(places), places.weights_uri)
    if spectra:
        tracker.log_bytes("training/spectrum.png", spectrum_figure(spectra))


def _check(config: ExperimentConfig, resources: Resources) -> None:
    """Refuse what cannot train, before a cluster is asked for anything."""
    local_batch(config, resources.num_workers)
    check_micro_batch(config, resources.micro_batch)
    with torch.device("meta"):
        network = models.build_for(config)
    freeze(network, config.train.freeze)
    parameter_groups(network, config)


def _start_tracking(
    config: ExperimentConfig, dataset_uris: Sequence[str], run_name: str, tags: Mapping[str, str], places: Settings
) -> Tracker:
    store = S3Store.from_settings(places)
    manifests = {uri: read_manifest(store, uri) for uri in dataset_uris}
    check_datasets(config, manifests)
    tracker = Tracker(places.mlflow_tracking_uri)
    tracker.start(
        run_name,
        fingerprint=config.fingerprint(),
        params=params_of(config),
        tags={"mlflow.source.git.commit": git_commit(), **tags},
        datasets=[
            DatasetRef(name=manifest.dataset, digest=manifest.digest, uri=uri) for uri, manifest in manifests.items()
        ],
    )
    return tracker


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
        callbacks=list(callbacks),
        failure_config=FailureConfig(max_failures=resources.max_failures, controller_failure_limit=2),
        # One checkpoint of the best epoch, and always the last.
        checkpoint_config=CheckpointConfig(
            num_to_keep=1, checkpoint_score_attribute=metric, checkpoint_score_order="min"
        ),
        logging_config=LoggingConfig(log_level="WARNING"),
    )


def filesystem(places: Settings) -> pyarrow.fs.S3FileSystem:
    """The store of the settings, as Ray writes to it."""
    endpoint = urlsplit(places.s3_endpoint_url)
    return pyarrow.fs.S3FileSystem(
        access_key=places.s3_access_key,
        secret_key=places.s3_secret_key.get_secret_value(),
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region=places.s3_region,
    )


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
    """The first error of our own that a worker raised, if any, else what Ray says."""
    for failure in getattr(error, "worker_failures", {}).values():
        for candidate in (failure, getattr(failure, "cause", None), failure.__cause__):
            if isinstance(candidate, AdodnError):
                return candidate
    return error


def _worker(given: dict[str, Any]) -> None:
    """What each worker runs: build, resume, fit."""
    config = ExperimentConfig.from_json(given["config"])
    places = settings.get()
    device = ray.train.torch.get_device()
    torch.set_num_threads(given["torch_threads"])
    prepare_process(config.train)
    network = models.build_for(config)
    store = S3Store.from_settings(places)
    start_from_weights(network, config, store, places.weights_uri)
    freeze(network, config.train.freeze)
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    network = network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped = ray.train.torch.prepare_model(
        network, move_to_device=False, parallel_strategy_kwargs={"forward_sync_buffers": False}
    )
    train_faces, val_faces = open_loaders(
        config, given["dataset_uris"], _supply(config, given["loader_threads"], places)
    )
    state = build_state(config, network, wrapped, len(train_faces))
    _resume(state)
    tracker = _tracker_of(given, places) if rank() == 0 else None
    reports = _Reports(store, tracker, given["checkpoint_every_steps"])
    fit(state, train_faces, val_faces, reports, micro_batch=given["micro_batch"])
    if tracker is not None:
        tracker.finish()  # sends what an outage held back


def _tracker_of(given: dict[str, Any], places: Settings) -> Tracker:
    tracker = Tracker(places.mlflow_tracking_uri)
    tracker.attach(given["tracking_run_id"])
    return tracker


def _patterns(config: ExperimentConfig, store: S3Store, places: Settings) -> Patterns | None:
    wanted = config.data.augment.occlusion_patterns
    if not wanted:
        return None
    uri = f"{places.patterns_uri}/{wanted}"
    return Patterns.from_json(get_by_digest(store, uri), uri)


def _supply(config: ExperimentConfig, threads: int, places: Settings) -> Supply:
    store = S3Store.from_settings(places)
    cache = ShardCache(places.cache_dir, places.cache_max_bytes)
    return Supply(store=store, cache=cache, patterns=_patterns(config, store, places), threads=threads)


def _resume(state: TrainState) -> None:
    """Go on at the run's last checkpoint, if it has one."""
    last = ray.train.get_checkpoint()
    if last is None:
        return
    with last.as_directory() as folder:
        state.load_state_dict(checkpoint.read(Path(folder) / checkpoint.FILE_NAME, last.path))


class _Reports:
    """Tells Ray of each epoch, with a checkpoint from rank 0, and MLflow of its metrics."""

    def __init__(self, store: S3Store, tracker: Tracker | None, every_steps: int | None) -> None:
        self.tracker = tracker
        self.every_steps = every_steps
        self._storage = ray.train.get_context().get_storage()
        self._uploads = Uploads(store, f"s3://{self._storage.experiment_fs_path}")

    def after_step(self, state: TrainState) -> None:
        """Checkpoint in mid-epoch, when asked to."""
        if self.every_steps and state.step % self.every_steps == 0:
            synchronise(state)
            # No validation yet: infinity keeps it from being taken for the best.
            self._report(state, {val_metric(state.config): float("inf")})

    def after_epoch(self, state: TrainState, metrics: dict[str, float]) -> None:
        """Checkpoint, and show the epoch."""
        self._report(state, metrics)
        if self.tracker is not None:
            self.tracker.log_epoch(state.epoch, metrics)
            # To the job's log, where people look; Ray would print a `print` twice.
            sys.stdout.write(_line(state, metrics) + "\n")
            sys.stdout.flush()

    def _report(self, state: TrainState, metrics: dict[str, float]) -> None:
        """All workers report, as Ray's barrier demands; rank 0 brings the checkpoint."""
        saved = self._saved(state) if rank() == 0 else None
        ray.train.report(
            {"epoch": state.epoch, "step": state.step, **metrics},
            checkpoint=saved,
            # Not by Ray, whose copy that fails would leave the other workers waiting at the barrier for ever.
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
        )

    def _saved(self, state: TrainState) -> Checkpoint | None:
        with tempfile.TemporaryDirectory() as folder:
            uri = self._uploads.send(checkpoint.save(state, Path(folder)))
        return Checkpoint(uri.removeprefix("s3://"), self._storage.storage_filesystem) if uri else None


def _line(state: TrainState, metrics: dict[str, float]) -> str:
    return (
        f"epoch {state.epoch}/{state.config.train.epochs}  "
        f"loss {metrics['train/loss']:.5f}  val nme {100 * metrics[val_metric(state.config)]:.2f} %  "
        f"best {100 * state.best_nme:.2f} % (epoch {state.best_epoch})  "
        f"{metrics['train/faces_per_second']:.0f} faces/s  waiting {100 * metrics['train/data_wait_fraction']:.0f} %"
    )


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
