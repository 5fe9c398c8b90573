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


def begun_trainings(lines: Iterable[str]) -> list[tuple[int, int, str]]:
    """Which trainings, of how many, lines of `adodn study` or `adodn winner` say to begin, and their runs."""
    found = filter(None, map(_TRAINING.match, lines))
    return [(int(one[1]), int(one[2]), one[3]) for one in found]


def _close(runs: Callable[[], Iterable[str]]) -> None:
    from adodn import tracking  # takes seconds

    try:
        for run in runs():
            tracking.close_left_running(settings.get().mlflow_tracking_uri, run)
    except (TrackingError, SearchError) as error:
        get_run_logger().warning("%s", error)
