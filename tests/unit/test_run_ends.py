"""What MLflow is told of a training that ended early, whoever trained: on its own store, in a file.

pytest tests/unit/test_run_ends.py
"""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from adodn.errors import StorageError
from adodn.tracking import Tracker
from adodn.train.driver import told_if_it_fails

ENDS = [
    (StorageError("x"), "FAILED"),
    (ValueError("a bug"), "FAILED"),
    (OSError("no space left"), "FAILED"),
    (KeyboardInterrupt(), "KILLED"),
    (SystemExit(0), "RUNNING"),
]


def test_a_run_is_killed_by_people_and_fails_by_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own errors and others alike; how Tune ends a trial is Tune's to tell."""
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts below
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for number, (error, status) in enumerate(ENDS):
        tracker = Tracker(uri)
        run = tracker.start(f"run-{number}", fingerprint="f" * 12, params={})

        with pytest.raises(type(error)), told_if_it_fails(tracker):
            raise error

        assert MlflowClient(uri).get_run(run).info.status == status, error
