"""What each worker of a Ray training runs; `distributed.py` starts it."""

import logging
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.train
import ray.train.torch
from ray.train import Checkpoint, CheckpointUploadMode, ControllerError, UserCallback

from adodn import settings
from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import AdodnError, StorageError, TrackingError
from adodn.settings import Settings
from adodn.train import checkpoint
from adodn.train.peers import DATA_PARALLEL, rank
from adodn.train.process import Reports, Share, train_process
from adodn.train.state import TrainState
from adodn.train.uploads import Uploads

if TYPE_CHECKING:
    from adodn.tracking import Tracker


def run(given: dict[str, Any]) -> None:
    """Train as one of the workers of a Ray training, from its last checkpoint on."""
    _quiet_ray()
    places = settings.get()
    tracker = _tracker_of(given, places) if rank() == 0 else None
    train_process(
        ExperimentConfig.from_json(given["config"]),
        Share(**given["share"]),
        places,
        device=ray.train.torch.get_device(),
        wrap=partial(
            ray.train.torch.prepare_model,
            move_to_device=False,
            parallel_strategy_kwargs=DATA_PARALLEL,
        ),
        saved=_saved,
        reports=Reports(_RayReport(S3Store.from_settings(places)), tracker, given["checkpoint_every_steps"]),
    )
    if tracker is not None:
        tracker.finish()  # sends what an outage held back


class GiveUp(UserCallback):  # type: ignore[misc]  # Ray is not typed
    """Ends a training whose workers would fail again: a damaged shard, a loss that is not finite.

    What another start may mend, a server that is away or a process that died, is Ray's to try again.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray's controller when workers failed.

        Raises:
            ControllerError: Ray's, for what it does not try again.
        """
        error = own_error(worker_exceptions)
        if error is not None and not isinstance(error, StorageError | TrackingError):
            raise ControllerError(error)


def own_error(failures: Mapping[int, BaseException]) -> AdodnError | None:
    """The first error of our own that a worker raised, if one did: others fail for its sake."""
    for failure in failures.values():
        for candidate in (failure, failure.__cause__):
            if isinstance(candidate, AdodnError):
                return candidate
    return None


def _quiet_ray() -> None:
    """Leave out of the job's log what nobody looks for there: tracebacks of our errors, and a line for each report.

    The level of `LoggingConfig` does not hold for the latter, whose logger Ray names after a file.
    """
    logging.getLogger("ray.train.v2._internal.util").addFilter(_is_no_error_of_ours)
    for name in list(logging.root.manager.loggerDict):
        if "/ray/train/" in name:
            logging.getLogger(name).setLevel(logging.WARNING)


def _is_no_error_of_ours(record: logging.LogRecord) -> bool:
    """Ray logs the traceback of what a worker raised. An error of ours is told by its message, once, by the driver."""
    return not isinstance(sys.exc_info()[1], AdodnError)


def _tracker_of(given: dict[str, Any], places: Settings) -> "Tracker":
    from adodn.tracking import Tracker  # takes seconds, and only rank 0 needs it

    tracker = Tracker(places.mlflow_tracking_uri)
    tracker.attach(given["tracking_run_id"])
    return tracker


def _saved() -> dict[str, Any] | None:
    """The run's last checkpoint, if it has one."""
    last = ray.train.get_checkpoint()
    if last is None:
        return None
    with last.as_directory() as folder:
        return checkpoint.read(Path(folder) / checkpoint.FILE_NAME, last.path)


class _RayReport:
    """Tells Ray of metrics, with a checkpoint from rank 0; all workers report, as Ray's barrier demands."""

    def __init__(self, store: S3Store) -> None:
        self._storage = ray.train.get_context().get_storage()
        self._uploads = Uploads(store, f"s3://{self._storage.experiment_fs_path}")

    def __call__(self, state: TrainState, metrics: dict[str, float]) -> None:
        sent = self._sent(state) if rank() == 0 else None
        ray.train.report(
            {"epoch": state.epoch, "step": state.step, **metrics},
            checkpoint=sent,
            # Not by Ray, whose copy that fails would leave the other workers waiting at the barrier for ever.
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
        )

    def _sent(self, state: TrainState) -> Checkpoint | None:
        with tempfile.TemporaryDirectory() as folder:
            uri = self._uploads.send(checkpoint.save(state, Path(folder)))
        return Checkpoint(uri.removeprefix("s3://"), self._storage.storage_filesystem) if uri else None
