"""Parameters that are longer than MLflow keeps, on a database file of its own.

pytest tests/unit/test_long_parameters.py
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from adodn.errors import TrackingError
from adodn.tracking import EXPERIMENT, Tracker

Start = Callable[[str], Tracker]
LONG = "source " * 1000


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts the one run with its one parameter."""
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts below

    def begin(value: str) -> Tracker:
        tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db")
        tracker.start("long", fingerprint="f" * 12, params={"data.sources": value})
        return tracker

    return begin


def test_a_run_with_a_long_parameter_goes_on(start: Start, tmp_path: Path) -> None:
    """It is one run, which knows the parameter by beginning, length and sha256; a change at its end is seen."""
    first, again = start(LONG), start(LONG)

    assert first.run_id == again.run_id
    kept = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(first.run_id).data.params["data.sources"]
    assert kept.startswith("source source") and "7000 characters, sha256 " in kept and len(kept) < 500
    with pytest.raises(TrackingError, match=r"data\.sources"):
        start(LONG[:-1] + "x")


def test_a_run_that_has_the_parameter_in_full_goes_on(start: Start, tmp_path: Path) -> None:
    """As runs have it that were begun before long ones were shortened, cut where MLflow cuts."""
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment(EXPERIMENT)
    run_id = client.create_run(experiment, run_name="long", tags={"fingerprint": "f" * 12}).info.run_id
    client.log_param(run_id, "data.sources", LONG)

    assert start(LONG).run_id == run_id
