"""What MLflow is told of a training that ended early, whoever trained.

pytest tests/unit/test_run_ends.py
"""

from unittest.mock import Mock

import pytest

from adodn.errors import StorageError
from adodn.train.driver import told_if_it_fails


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StorageError("x"), ["FAILED"]),
        (ValueError("a bug"), ["FAILED"]),
        (OSError("no space left"), ["FAILED"]),
        (KeyboardInterrupt(), ["KILLED"]),
        (SystemExit(0), []),
    ],
)
def test_a_run_is_killed_by_people_and_fails_by_errors(error: BaseException, told: list[str]) -> None:
    """Our own errors and others alike; how Tune ends a trial is Tune's to tell."""
    tracker = Mock()
    with pytest.raises(type(error)), told_if_it_fails(tracker):
        raise error
    assert [call.args[0] for call in tracker.abandon.call_args_list] == told
