"""What a search leaves: pictures and its best config, of any study, and never an error.

pytest tests/unit/test_findings.py
"""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from adodn import recipes
from tune.findings import BEST, findings
from tune.searcher import distribution
from tune.space import SPACES
from tune.storage import run_name, settle
from tune.winner import Winner

SPACE, BASE = SPACES["papers"], recipes.adodn_smoke()
AXES = {parameter.name: distribution(parameter) for parameter in SPACE.parameters}


def study_of(errors: list[float]) -> optuna.Study:
    """A study in memory of the papers' space, its first trial the recipe's own values."""
    study = optuna.create_study(study_name="night", sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(dict(SPACE.defaults(BASE)))
    for error in errors:
        study.tell(study.ask(AXES), error)
    return study


def test_a_search_leaves_pictures_and_its_best(tmp_path: Path) -> None:
    """The file is of the trial with the least error, and what could not be drawn has a reason."""
    study = study_of([0.046, 0.041, 0.044])
    found = findings(study, SPACE, BASE, ("nme",))
    (tmp_path / BEST).write_bytes(found.files[BEST])
    winner = Winner.read(tmp_path / BEST)

    assert (winner.chosen.trial, winner.chosen.defaults_val_nme) == (1, 0.046)
    assert winner.config.model.drop_probability == study.trials[1].params["p"]
    assert winner.with_defaults() == BASE
    assert found.files["history.png"].startswith(b"\x89PNG")
    assert {"importance.png", "pareto.png"} <= found.left_out.keys()
    assert not found.files.keys() & found.left_out.keys()


def test_defaults_that_were_interrupted_are_known_again() -> None:
    """Begun again under another number, the first training still is that of the papers' defaults."""
    study = study_of([])
    study.ask(AXES)
    assert settle(study, lambda trial: None) == [0]
    again = study.ask(AXES)
    study.tell(again, 0.046)

    text = findings(study, SPACE, BASE, ("nme",)).files[BEST].decode()

    assert (again.number, run_name(study, again)) == (1, "night-0000")
    assert '"defaults_trial": 1' in text


@pytest.mark.parametrize("errors", [[], [None]], ids=["no trial", "one that failed"])
def test_nothing_found_is_said_and_not_raised(errors: list[None]) -> None:
    """Without a finished trial there is no file, and two reasons that name the study."""
    study = study_of([])
    for _ in errors:
        study.tell(study.ask(AXES), state=TrialState.FAIL)

    found = findings(study, SPACE, BASE, ("nme",))

    assert found.files == {}
    assert found.left_out.keys() == {"pictures", BEST}
    assert all("'night'" in why for why in found.left_out.values())


def test_a_config_that_fails_leaves_the_pictures() -> None:
    """A space that is not the study's own gives no best config, and the rest is there."""
    found = findings(study_of([0.046, 0.041]), SPACES["training"], BASE, ("nme",))

    assert "history.png" in found.files
    assert found.left_out[BEST].startswith("KeyError")


def test_the_best_is_by_error() -> None:
    """A search for the fewest parameters has pictures, but no config to train again."""
    found = findings(study_of([1e6, 2e6]), SPACE, BASE, ("parameters",))

    assert "history.png" in found.files
    assert "'parameters'" in found.left_out[BEST]
