"""What each worker of a Ray training runs; `distributed.py` starts it."""

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import ray.train
import ray.train.torch
from ray.train import ControllerError, UserCallback

from adodn import settings
from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import AdodnError, AnotherSavesError, StorageError, TrackingAwayError
from adodn.settings import Settings
from adodn.train.checkpoints import Checkpoints
from adodn.train.loop import val_metric
from adodn.train.peers import DATA_PARALLEL, from_rank_zero, rank
from adodn.train.process import Reports, Share, train_process
from adodn.train.progress import Progress

if TYPE_CHECKING:
    from adodn.tracking import Tracker


def run(given: dict[str, Any]) -> None:
    """Train as one of the workers of a Ray training, from its last checkpoint on."""
    _quiet_ray()
    # As the driver has them: it reads there what is saved here. Keys are this node's own.
    places = settings.get().model_copy(update=given["places"])
    config = ExperimentConfig.from_json(given["config"])
    first = rank() == 0
    tracker = _tracker_of(given, places) if first else None
    base_uri = f"{places.runs_uri}/{given['run_name']}"
    checkpoints = Checkpoints(S3Store.from_settings(places), base_uri) if first else None
    with checkpoints or nullcontext(), _system_metrics(given["tracking_run_id"], places):
        train_process(
            config,
            Share(**given["share"]),
            places,
            device=ray.train.torch.get_device(),
            wrap=partial(
                ray.train.torch.prepare_model,
                move_to_device=False,
                parallel_strategy_kwargs=DATA_PARALLEL,
            ),
            # One reads, so that all start from the same, whatever a process that is slow to die still saves.
            saved=lambda: from_rank_zero(checkpoints.claim() if checkpoints else None),
            # Metrics only: checkpoints are ours. All workers report, as Ray's barrier demands.
            reports=Reports(
                checkpoints,
                tracker,
                ray.train.report,
                Progress(val_metric(config), places.log_format),
                _Due(given["checkpoint_every_steps"], given["checkpoint_on_notice"]),
            ),
        )
    if tracker is not None:
        tracker.flush()  # what an outage held back; the driver closes the run, when it has its pictures


class GiveUp(UserCallback):  # type: ignore[misc]  # Ray is not typed
    """Ends a training whose workers would fail again: a damaged shard, a loss that is not finite.

    What another start may mend, a server that is away or a process that died, is Ray's to try again. So, once, is that
    another process saves the run: a worker of a group that was given up, which was frozen and woke, took it over.
    Twice, and somebody has started the run twice.
    """

    def __init__(self) -> None:
        self._displaced = False

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray's controller when workers failed.

        Raises:
            ControllerError: Ray's, for what it does not try again.
        """
        error = own_error(worker_exceptions)
        if isinstance(error, AnotherSavesError) and not self._displaced:
            self._displaced = True
            return
        if error is not None and not isinstance(error, StorageError | TrackingAwayError):
            raise ControllerError(error)


def own_error(failures: Mapping[Any, BaseException]) -> AdodnError | None:
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

    return Tracker.attached(places.mlflow_tracking_uri, given["tracking_run_id"])


def _system_metrics(tracking_run_id: str, places: Settings) -> AbstractContextManager[None]:
    """Of this node, by the first of its workers."""
    context = ray.train.get_context()
    if context.get_local_rank() != 0 or not places.system_metrics_every_s:
        return nullcontext()
    from adodn.system_metrics import watched  # MLflow, as above

    node = f"node_{context.get_node_rank()}"
    return watched(places.mlflow_tracking_uri, tracking_run_id, node, every_s=places.system_metrics_every_s)


class _Due:
    """Whether there must be a checkpoint after a step; all workers call it after each.

    Args:
        every_steps: As was asked for; None: between epochs none.
        on_notice: Whether to look for notice of a node's end; the same on all workers.
        every_s: While a node of the group is about to be taken away, about so often; and so often it is asked for.
    """

    def __init__(self, every_steps: int | None, on_notice: bool, every_s: float = 5.0) -> None:
        self._every_steps, self._on_notice, self._every_s = every_steps, on_notice, every_s
        self._look_after = 0
        self._looked = 0, time.monotonic()

    def __call__(self, step: int) -> bool:
        asked = self._every_steps is not None and step % self._every_steps == 0
        return self._must_leave(step) or asked

    def _must_leave(self, step: int) -> bool:
        """Whether there is notice. To ask is a meeting of all workers: not after each step, but after the same ones."""
        if not self._on_notice or step < self._look_after:
            return False
        now, (before, then) = time.monotonic(), self._looked
        step_s = (now - then) / (step - before) if before else self._every_s
        agreed = from_rank_zero(b"%d" % (step + max(1, int(self._every_s / step_s))))
        self._look_after, self._looked = int(agreed or 0), (step, now)
        return ray.train.get_preemption_info() is not None
