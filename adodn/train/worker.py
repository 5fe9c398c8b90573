"""What each worker of a Ray training runs: build, resume, fit, and report to Ray and MLflow.

`distributed.py` starts it. Every worker imports this module before its first step, so what only the driver needs,
pictures above all, is not imported here.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointUploadMode

from adodn import models, settings
from adodn.config import ExperimentConfig
from adodn.data.cache import ShardCache
from adodn.data.store import S3Store
from adodn.occlusion.patterns import Patterns
from adodn.settings import Settings
from adodn.train import checkpoint
from adodn.train.determinism import prepare_process
from adodn.train.frozen import freeze
from adodn.train.initial import get_by_digest, start_from_weights
from adodn.train.loaders import Supply, open_loaders
from adodn.train.loop import fit, synchronise, val_metric
from adodn.train.peers import rank
from adodn.train.state import TrainState, build_state
from adodn.train.uploads import Uploads

if TYPE_CHECKING:
    from adodn.tracking import Tracker


def run(given: dict[str, Any]) -> None:
    """Train as one of the workers of a Ray training, from its last checkpoint on."""
    # Of 1 × 1 kernels, which lie in memory alike in both layouts: only their strides differ.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
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


def _tracker_of(given: dict[str, Any], places: Settings) -> "Tracker":
    from adodn.tracking import Tracker  # takes seconds, and only rank 0 needs it

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

    def __init__(self, store: S3Store, tracker: "Tracker | None", every_steps: int | None) -> None:
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
