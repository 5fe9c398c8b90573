"""Ray Train around the plain loop: `worker.py`, `scaling.py`, `process_group.py` and this alone know of it.

    outcome = train(config, [dataset_uri], run_name=config.run_name, resources=Resources(), places=settings.get())

A run is known by (storage, run name). Whoever starts it again under the same name goes on at its last checkpoint.
"""

import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
from ray.exceptions import RayError
from ray.train import (
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
)

from adodn import settings
from adodn.config import ExperimentConfig, worker_counts
from adodn.errors import AdodnError, StackError
from adodn.interrupts import ended_alike
from adodn.publish import Outcome
from adodn.settings import Settings
from adodn.train import process_group, scaling, worker
from adodn.train.driver import check, conclude, start_tracking, told_if_it_fails
from adodn.train.failures import lost

_ANSWER_S = 20.0
_HANG_TIMEOUTS = ("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", "RAY_TRAIN_COLLECTIVE_TIMEOUT_S")
"""Of a worker that does not answer, and of the barrier at which all report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Where and how a training runs. Changes its speed, never its result."""

    num_workers: int = 2
    """The most, where there may be fewer."""
    min_workers: int | None = None
    """Train with as few as that while the cluster has no room for all; None: with all or not at all."""
    use_gpu: bool = False
    cpus_per_worker: float = 1.0
    loader_threads: int | None = None
    """That prepare a worker's batches; None: one, or, where a GPU computes, as many as the worker has CPUs."""
    micro_batch: int | None = None
    """Faces that go through a worker's network at a time, for less memory; None: its whole share of the batch."""
    checkpoint_every_steps: int | None = None
    """Checkpoints between epochs; None: at the end of each epoch only."""
    max_failures: int = 3
    """How many times the workers are started again after one died; a node that was taken away on notice is none."""
    hang_timeout_s: float = 600.0
    """For how long a worker may not answer, or keep the others waiting, until it is taken for dead. More than
    the store's deadline, within which the first worker takes over or saves a checkpoint while they wait."""
    wait_minutes: float = 5.0
    """How long to wait for a cluster that is too small."""
    resize_s: float = 60.0
    """How often a group that is not full looks for room."""


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
        ResourcesError: If the cluster has no room for them.
        AdodnError: Whatever stopped the workers for good.
        KeyboardInterrupt: At Ctrl-C or SIGTERM; the workers have ended, and the run can be gone on with.
    """
    room = _room(config, resources)
    check(config, room.sizes[-1], resources.micro_batch)
    scaling.await_room(room)
    more = {"workers": "-".join(str(size) for size in room.sizes), **(tags or {})}
    tracker = start_tracking(config, dataset_uris, run_name, more, places)
    trainer = scaling.Trainer(
        worker.run,
        room=room,
        train_loop_config={
            "config": config.to_json(),
            "share": _share(dataset_uris, resources),
            "run_name": run_name,
            "places": places.shared,
            "tracking_run_id": tracker.run_id,
            **_checkpointing(resources),
        },
        scaling_config=_scaling(resources, room),
        # Gradients and running statistics lie on the GPU, sums for metrics do not.
        torch_config=process_group.ProcessGroup(
            backend="cpu:gloo,cuda:nccl" if resources.use_gpu else "gloo", timeout_s=math.ceil(resources.hang_timeout_s)
        ),
        run_config=_run_config(run_name, resources, places, callbacks),
    )
    os.environ |= dict.fromkeys(_HANG_TIMEOUTS, str(resources.hang_timeout_s))
    with told_if_it_fails(tracker):
        try:
            with ended_alike():
                trainer.fit()
                return conclude(tracker, run_name, places)
        except (RayError, ray.train.TrainingFailedError, AdodnError) as error:
            raise _cause(error, run_name, room) from error


def _share(dataset_uris: Sequence[str], resources: Resources) -> dict[str, Any]:
    return {
        "dataset_uris": tuple(dataset_uris),
        "micro_batch": resources.micro_batch,
        "loader_threads": loader_threads(resources),
        "torch_threads": max(1, round(resources.cpus_per_worker)),
    }


def _checkpointing(resources: Resources) -> dict[str, Any]:
    return {
        "checkpoint_every_steps": resources.checkpoint_every_steps,
        # Asked here, for all: workers on nodes with other variables would wait for one another. Off, nobody tells.
        "checkpoint_on_notice": os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1") != "0",
    }


def loader_threads(resources: Resources) -> int:
    """That prepare the batches of each worker."""
    cpus = max(1, round(resources.cpus_per_worker))
    return resources.loader_threads or (cpus if resources.use_gpu else 1)


def _room(config: ExperimentConfig, resources: Resources) -> scaling.Room:
    fewest = resources.min_workers or resources.num_workers
    return scaling.Room(
        per_worker={"CPU": resources.cpus_per_worker} | ({"GPU": 1.0} if resources.use_gpu else {}),
        sizes=worker_counts(config, fewest=fewest, most=resources.num_workers),
        patience_s=60 * resources.wait_minutes,
    )


def _scaling(resources: Resources, room: scaling.Room) -> ScalingConfig:
    fewest, most = room.sizes[0], room.sizes[-1]
    return ScalingConfig(
        num_workers=most if resources.min_workers is None else (fewest, most),
        use_gpu=resources.use_gpu,
        resources_per_worker=room.per_worker,
        elastic_resize_monitor_interval_s=resources.resize_s,
    )


def _run_config(run_name: str, resources: Resources, places: Settings, callbacks: Sequence[Any]) -> RunConfig:
    return RunConfig(
        name=run_name,
        storage_path=places.runs_uri.removeprefix("s3://"),
        storage_filesystem=filesystem(places),
        callbacks=[worker.GiveUp(), *callbacks],
        failure_config=FailureConfig(max_failures=resources.max_failures, controller_failure_limit=2),
        logging_config=LoggingConfig(log_level="WARNING"),
    )


class _Filesystem(pyarrow.fs.S3FileSystem):  # type: ignore[misc]  # pyarrow is not typed
    """A store that travels without its keys, because Ray Tune pickles it into a file on that very store."""

    where: dict[str, str]

    def __reduce__(self) -> tuple[Any, tuple[dict[str, str]]]:
        return _with_own_keys, (self.where,)


def filesystem(places: Settings) -> pyarrow.fs.S3FileSystem:
    """The store of the settings, as Ray writes to it; in another process, with that one's keys."""
    endpoint, given = urlsplit(places.s3_endpoint_url), bool(places.s3_access_key)
    store = _Filesystem(
        access_key=places.s3_access_key if given else None,  # None: those that pyarrow finds by itself
        secret_key=places.s3_secret_key.get_secret_value() if given else None,
        session_token=(places.s3_session_token.get_secret_value() if given else None) or None,
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region=places.s3_region,
    )
    store.where = {"s3_endpoint_url": places.s3_endpoint_url, "s3_region": places.s3_region}
    return store


def _with_own_keys(where: dict[str, str]) -> pyarrow.fs.S3FileSystem:
    return filesystem(settings.get().model_copy(update=where))


def _cause(error: Exception, run_name: str, room: scaling.Room) -> AdodnError:
    """The error of our own that ended the training, if it was one, else what Ray says, in one line."""
    if isinstance(error, AdodnError):
        return error
    failures: dict[int | None, BaseException] = dict(getattr(error, "worker_failures", {}))
    if isinstance(error, ray.train.ControllerError):
        failures = {None: error.controller_failure}
        if too_small := scaling.startup_error(error.controller_failure, room):
            return too_small
    return worker.own_error(failures) or lost(run_name, failures or {None: error})


def connect(address: str | None, *, show_workers: bool = True) -> None:
    """Join the Ray cluster at `address`, or the one whose job this is, or start one for this process alone.

    Args:
        address: host:port of its head.
        show_workers: Print what the workers print.

    Raises:
        StackError: If the cluster does not take this process in.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        # A busy laptop takes longer than Ray's 60 s to import torch in every worker.
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "240")
        try:
            if address:
                _require_answer(address)  # Ray itself tries for minutes
            ray.init(address=address, log_to_driver=show_workers)
        except (RayError, OSError, RuntimeError) as error:
            raise StackError(
                f"Ray at {address or 'this machine'} does not take this process in: {' '.join(str(error).split())}; "
                "the head must be up and reachable, ADODN_RAY_AUTH_TOKEN its token, and Ray and Python of its release"
            ) from error


def _require_answer(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise StackError(
            f"Ray's address must be HOST:PORT, got {address!r}; give that of the head, e.g. 127.0.0.1:6380"
        )
    socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
