"""A run on a database file of MLflow's own, without a server.

pytest tests/unit/test_tracker.py
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from adodn.errors import TrackingAwayError, TrackingError
from adodn.mlflow_server import client_of
from adodn.tracking import EXPERIMENT, Tracker

Start = Callable[[str], Tracker]
LONG = "source " * 1000


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts below
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def start(uri: str) -> Start:
    """Starts the one run with its one parameter."""

    def begin(value: str) -> Tracker:
        tracker = Tracker(uri)
        tracker.start("long", fingerprint="f" * 12, params={"data.sources": value})
        return tracker

    return begin


def test_a_run_with_a_long_parameter_goes_on(start: Start, uri: str) -> None:
    """It is one run, which knows the parameter by beginning, length and sha256; a change at its end is seen."""
    first, again = start(LONG), start(LONG)

    assert first.run_id == again.run_id
    kept = MlflowClient(uri).get_run(first.run_id).data.params["data.sources"]
    assert kept.startswith("source source") and "7000 characters, sha256 " in kept and len(kept) < 500
    with pytest.raises(TrackingError, match=r"data\.sources"):
        start(LONG[:-1] + "x")


def test_a_run_that_has_the_parameter_in_full_goes_on(start: Start, uri: str) -> None:
    """As runs have it that were begun before long ones were shortened, cut where MLflow cuts."""
    client = MlflowClient(uri)
    experiment = client.create_experiment(EXPERIMENT)
    run_id = client.create_run(experiment, run_name="long", tags={"fingerprint": "f" * 12}).info.run_id
    client.log_param(run_id, "data.sources", LONG)

    assert start(LONG).run_id == run_id


def test_a_full_temporary_folder_is_no_refusal(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes through it may go through later: that ends a search, which can be gone on with, not a trial."""
    tracker = start("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))

    with pytest.raises(TrackingAwayError, match="make room"):
        tracker.log_bytes("a.txt", b"")


def test_a_worker_attaches_patiently(start: Start, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects again while nothing listens, as long as it has patience; one without any is told at once."""
    run_id, left = start("").run_id, 2

    def away_twice(uri: str) -> MlflowClient:
        nonlocal left
        left -= 1
        if left >= 0:
            raise TrackingAwayError("nothing listens")
        return client_of(uri)

    monkeypatch.setattr("adodn.tracking.client_of", away_twice)
    with pytest.raises(TrackingAwayError):
        Tracker.attached(uri, run_id, patience_s=0)
    assert Tracker.attached(uri, run_id).run_id == run_id


def test_what_is_flushed_is_there_and_the_run_goes_on(start: Start, uri: str) -> None:
    """As a worker leaves it to the driver, who has pictures to add: FINISHED comes last."""
    tracker = start("")
    for epoch in (1, 2):
        tracker.log_epoch(epoch, {"train/loss": 1 / epoch})
    tracker.flush()
    run = MlflowClient(uri).get_run(tracker.run_id)

    assert (run.info.status, run.data.metrics) == ("RUNNING", {"train/loss": 0.5})
    assert tracker.history() == [{"train/loss": 1.0}, {"train/loss": 0.5}]
