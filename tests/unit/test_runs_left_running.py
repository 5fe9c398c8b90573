"""A job that is killed leaves no run as running on MLflow, whatever it trained.

pytest tests/unit/test_runs_left_running.py
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from prefect.logging import disable_run_logger

from adodn import settings, tracking
from adodn.errors import StackError
from flows import search, study
from flows.jobs import JobFailedError
from flows.train import Workers
from tune import storage

CREW = Workers(count=1, gpu=False, micro_batch=None)
LOG = ("1/4  whole, seed 0: first-run", "epoch 1/2  loss 0.1", "2/4  whole, seed 1: second-run", "a word: 1/2 of it")


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The runs that were closed; artifacts go nowhere, studies are in a file."""
    monkeypatch.setenv("ADODN_STUDY_URL", f"sqlite:///{tmp_path}/studies.db")
    settings.get.cache_clear()
    for module in (search, study):
        for name in dir(module):
            if name.endswith("_artifact"):
                monkeypatch.setattr(module, name, lambda *words, **known: None)
    runs: list[str] = []
    monkeypatch.setattr(tracking, "close_left_running", lambda uri, run: runs.append(run))
    yield runs
    settings.get.cache_clear()


def fail(error: Exception) -> Callable[..., None]:
    """In place of `run_job`: the log of a job, and its end."""

    def run_job(step: str, words: list[str], on_lines: Callable[[list[str]], None]) -> None:
        on_lines(list(LOG))
        raise error

    return run_job


ERRORS = [JobFailedError("killed"), StackError("the head went away")]


@pytest.mark.parametrize("error", ERRORS)
def test_the_training_at_which_a_study_was(
    monkeypatch: pytest.MonkeyPatch, closed: list[str], error: Exception
) -> None:
    """Those before it have ended."""
    monkeypatch.setattr(study, "run_job", fail(error))

    with disable_run_logger(), pytest.raises(type(error)):
        study._run(["adodn", "study"], "ablation")

    assert closed == ["second-run"]


@pytest.mark.parametrize("error", ERRORS)
def test_the_training_at_which_a_winner_was(
    monkeypatch: pytest.MonkeyPatch, closed: list[str], error: Exception
) -> None:
    """As of a study."""
    monkeypatch.setattr(search, "run_job", fail(error))

    with disable_run_logger(), pytest.raises(type(error)):
        search._retrain("s3://a/best.json", "s3://a/1", 2, CREW)

    assert closed == ["second-run"]


@pytest.mark.parametrize("error", ERRORS)
def test_a_search_and_its_trials(monkeypatch: pytest.MonkeyPatch, closed: list[str], error: Exception) -> None:
    """Those that are over stay as they are."""
    known: Any = optuna.create_study(study_name="night", storage=storage.open_storage(settings.get()))
    known.tell(known.ask(), 0.5)
    known.ask()
    monkeypatch.setattr(search, "run_job", fail(error))

    with disable_run_logger(), pytest.raises(type(error)):
        search._run(["adodn", "search"], "night")

    assert closed == ["night", "night-0001"]


def test_a_search_whose_study_cannot_be_read(monkeypatch: pytest.MonkeyPatch, closed: list[str]) -> None:
    """Its own run is closed, and the flow fails for what went wrong first."""
    monkeypatch.setattr(search, "run_job", fail(JobFailedError("killed")))

    with disable_run_logger(), pytest.raises(JobFailedError):
        search._run(["adodn", "search"], "night")

    assert closed == ["night"]
