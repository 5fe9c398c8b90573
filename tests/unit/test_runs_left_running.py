"""A job that is killed leaves no run as running on MLflow, whatever it trained: on MLflow's own store, in a file.

pytest tests/unit/test_runs_left_running.py
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import optuna
import pytest
from mlflow import MlflowClient
from prefect.logging import disable_run_logger
from ray.job_submission import JobStatus, JobSubmissionClient

from adodn import settings
from adodn.errors import StackError
from adodn.tracking import EXPERIMENT, Tracker
from flows import jobs, search, study
from flows.jobs import JobFailedError
from flows.train import Workers
from tune import storage

CREW = Workers(count=1, gpu=False, micro_batch=None)
LOG = "1/2  whole, seed 0: first\nepoch 1/2  loss 0.1\n2/2  whole, seed 1: second\na word: 1/2 of it\n"


class Killed:
    """A job server whose one job says some lines and is killed; or it goes away itself when it has said them."""

    def __init__(self, *, goes_away: bool) -> None:
        self._goes_away, self._asked = goes_away, 0

    def list_jobs(self) -> list[Any]:
        return []

    def submit_job(self, *, entrypoint: str, submission_id: str) -> None:
        pass

    def get_job_status(self, name: str) -> JobStatus:
        self._asked += 1
        if self._asked == 1:
            return JobStatus.RUNNING
        if self._goes_away:
            raise ConnectionError("no answer")
        return JobStatus.FAILED

    def get_job_logs(self, name: str) -> str:
        return LOG


@pytest.fixture(autouse=True)
def stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """MLflow and studies in files; there is no Prefect that would take artifacts."""
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts below
    monkeypatch.setenv("ADODN_MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("ADODN_STUDY_URL", f"sqlite:///{tmp_path}/studies.db")
    settings.get.cache_clear()
    for module in (search, study):
        for name in dir(module):
            if name.endswith("_artifact"):
                monkeypatch.setattr(module, name, lambda *words, **known: None)
    monkeypatch.setattr(jobs, "_POLL_S", 0.0)
    monkeypatch.setattr(jobs, "_PATIENCE_S", 0.05)
    monkeypatch.setattr("flows.jobs.runtime.flow_run", SimpleNamespace(id=str(uuid4())))
    yield
    settings.get.cache_clear()


def begin(name: str, *, over: bool = False) -> None:
    """A run on MLflow."""
    tracker = Tracker(settings.get().mlflow_tracking_uri)
    tracker.start(name, fingerprint=name, params={})
    if over:
        tracker.finish()


def statuses() -> dict[str, str]:
    """Of all runs on MLflow, by name."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment])}


@pytest.mark.parametrize(("goes_away", "error"), [(False, JobFailedError), (True, StackError)])
@pytest.mark.parametrize(
    "work",
    [
        lambda: study._run(["adodn", "study"], "ablation"),
        lambda: search._retrain("s3://a/best.json", "s3://a/1", 2, CREW),
    ],
    ids=["study", "winner"],
)
def test_the_training_at_which_the_work_was(
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[], None],
    goes_away: bool,
    error: type[Exception],
) -> None:
    """That before it has ended, and another one that runs is none of its business."""
    serve(monkeypatch, goes_away=goes_away)
    begin("first", over=True)
    begin("second")
    begin("other")

    with disable_run_logger(), pytest.raises(error):
        work()

    assert statuses() == {"first": "FINISHED", "second": "FAILED", "other": "RUNNING"}


@pytest.mark.parametrize("is_known", [True, False])
def test_a_search_and_its_trials(monkeypatch: pytest.MonkeyPatch, is_known: bool) -> None:
    """Those that are over stay as they are. Without its study, its own run is closed all the same."""
    serve(monkeypatch, goes_away=False)
    if is_known:
        known: Any = optuna.create_study(study_name="night", storage=storage.open_storage(settings.get()))
        known.tell(known.ask(), 0.5)
        known.ask()
    begin("night")
    begin("night-0000", over=True)
    begin("night-0001")

    with disable_run_logger(), pytest.raises(JobFailedError):
        search._run(["adodn", "search"], "night")

    left = "FAILED" if is_known else "RUNNING"
    assert statuses() == {"night": "FAILED", "night-0000": "FINISHED", "night-0001": left}


def serve(monkeypatch: pytest.MonkeyPatch, *, goes_away: bool) -> None:
    """What flows take for Ray's job server."""
    server = Killed(goes_away=goes_away)
    monkeypatch.setattr(jobs, "_client", lambda: cast(JobSubmissionClient, server))
    monkeypatch.setattr(jobs, "_stop_orphans", lambda client: None)  # it asks Prefect
