"""MLflow shows no training as running whose driver could not say itself that it is over: killed, or out of reach.

with closing(lambda: ["my-run"]):
    run_job("train", ["adodn", "train", "--run-name", "my-run", …])
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prefect import get_run_logger

from adodn import settings
from adodn.errors import SearchError, StackError, TrackingError
from flows.jobs import JobFailedError

_TRAINING = re.compile(r"^(\d+)/(\d+)  .*: (\S+)$")


@contextmanager
def closing(runs: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Around a job that trains; `runs` names those that it may have left running, and is asked when it has failed."""
    try:
        yield
    except (JobFailedError, StackError):
        _close(runs)
        raise


def begun_training(line: str) -> tuple[int, int, str] | None:
    """Which training of how many a line of `adodn study` or `adodn winner` says begins, and its run; None if none."""
    found = _TRAINING.match(line)
    return (int(found[1]), int(found[2]), found[3]) if found else None


def _close(runs: Callable[[], Iterable[str]]) -> None:
    from adodn import tracking  # takes seconds

    try:
        for run in runs():
            tracking.close_left_running(settings.get().mlflow_tracking_uri, run)
    except (TrackingError, SearchError) as error:
        get_run_logger().warning("%s", error)
