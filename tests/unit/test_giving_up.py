"""Which errors of workers end a training at once, and which Ray tries again; which of a trial's end the search.

pytest tests/unit/test_giving_up.py
"""

import pytest
from ray.train import ControllerError

from adodn.errors import AnotherSavesError, CheckpointError, ShardError, StorageError, TrackingAwayError, TrackingError
from adodn.train.worker import GiveUp
from tune import objective
from tune.searcher import ERROR, OUTAGE


@pytest.mark.parametrize("error", [ShardError("x"), CheckpointError("x"), TrackingError("x")])
def test_what_no_start_mends_ends_the_training(error: Exception) -> None:
    """At the first time."""
    with pytest.raises(ControllerError):
        GiveUp().after_exception(None, {0: error})


@pytest.mark.parametrize("error", [StorageError("x"), TrackingAwayError("x"), OSError("x")])
def test_what_a_start_may_mend_is_tried_again(error: Exception) -> None:
    """As often as Ray has it."""
    give_up = GiveUp()
    for _ in range(3):
        give_up.after_exception(None, {0: error})


def test_who_is_displaced_claims_the_run_again_but_once() -> None:
    """By a worker of an old group that woke; two trainings of one name would displace each other for ever."""
    give_up = GiveUp()
    give_up.after_exception(None, {1: RuntimeError("gloo"), 0: AnotherSavesError("x")})
    with pytest.raises(ControllerError):
        give_up.after_exception(None, {0: AnotherSavesError("x")})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrackingAwayError("x"), {OUTAGE: "x"}),
        (StorageError("x"), {OUTAGE: "x"}),
        (TrackingError("x"), {ERROR: "TrackingError: x"}),
    ],
)
def test_only_an_outage_is_more_than_a_trial_s_own(
    error: Exception, said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MLflow refuses of one trial, it may take of the next."""

    def fail(job: object) -> None:
        raise error

    monkeypatch.setattr("tune.objective._train", fail)
    assert objective.run_trial({"job": None}) == said
