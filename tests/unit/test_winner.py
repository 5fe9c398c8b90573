"""The best of a search: which it is, what its file holds, and what is said of its gain.

pytest tests/unit/test_winner.py
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from adodn import protocols, recipes
from adodn.config import ExperimentConfig
from adodn.errors import ConfigError
from tune.winner import Chosen, Gain, Winner

BASE = recipes.adodn_smoke()
CHOSEN = Chosen(study="night", trial=7, val_nme=0.040, trials=20, defaults_trial=0, defaults_val_nme=0.046, defaults={})
NME = st.floats(0.01, 0.5)


def config_of(values: Mapping[str, Any]) -> ExperimentConfig:
    return BASE.with_fields({"model.drop_probability": values["p"], "loss.nuclear_norm": values["beta"]})


def study_of(results: Sequence[tuple[float, float | None]]) -> optuna.Study:
    """A study in memory of (p, nme); no nme is a trial that failed."""
    study = optuna.create_study(study_name="night")
    space = {"p": FloatDistribution(0, 1), "beta": FloatDistribution(1e-8, 1e-2, log=True)}
    for p, nme in results:
        study.enqueue_trial({"p": p, "beta": 1e-6})
        trial = study.ask(space)
        study.tell(trial, nme) if nme else study.tell(trial, state=TrialState.FAIL)
    return study


def test_the_winner_has_the_least_error() -> None:
    """Its config is that of the best finished trial, and its file tells trial, errors and how the defaults differ."""
    winner = Winner.of(study_of([(0.5, 0.046), (0.9, 0.041), (0.2, None), (0.3, 0.044)]), config_of)

    assert winner.config.model.drop_probability == 0.9
    assert winner.chosen == replace(CHOSEN, trial=1, val_nme=0.041, trials=3, defaults={"model.drop_probability": 0.5})
    assert winner.with_defaults() == BASE


def test_a_file_brings_the_winner_back(tmp_path: Path) -> None:
    """What was written is read, and its experiment is that of the trial."""
    winner = Winner.of(study_of([(0.5, 0.046), (0.9, 0.041)]), config_of)
    (tmp_path / "best.json").write_bytes(winner.to_file())

    assert Winner.read(tmp_path / "best.json") == winner


def test_defaults_that_failed_are_no_gain() -> None:
    """Without their trial there is nothing to compare with, and the text says so."""
    winner = Winner.of(study_of([(0.5, None), (0.9, 0.041)]), config_of)
    gain = Gain(chosen=winner.chosen, retrained=(0.043, 0.044))

    assert winner.chosen.defaults_trial is None
    assert (gain.promised, gain.kept) == (None, None)
    assert "did not finish" in gain.text() and "cannot be said" in gain.text()


def test_a_search_without_a_finished_trial_has_no_winner() -> None:
    """It is refused, not guessed."""
    with pytest.raises(ConfigError, match="'night'"):
        Winner.of(study_of([(0.5, None)]), config_of)


@pytest.mark.parametrize(
    ("path", "value"),
    [("trial", "first"), ("val_nme", -1), ("colour", 1), ("defaults", {"train.colour": 1}), ("study", None)],
)
def test_a_file_that_tells_of_no_search_is_refused(tmp_path: Path, path: str, value: object) -> None:
    """One error, though the experiment in it is whole."""
    tree = json.loads(Winner.of(study_of([(0.5, 0.046)]), config_of).to_file())
    tree["about"]["search"][path] = value
    (tmp_path / "best.json").write_text(json.dumps(tree))

    with pytest.raises(ConfigError):
        Winner.read(tmp_path / "best.json")


def test_retraining_has_seeds_that_the_search_did_not_have() -> None:
    """They differ from each other and from the search's, names carry the fingerprint, and all else is the same."""
    winner = Winner.of(study_of([(0.5, 0.046), (0.9, 0.041)]), config_of)
    on_data = winner.config.on_dataset("ab" * 32, protocols.get("68"))

    trainings = winner.retrainings(on_data, 4)

    seeds = [training.config.train.seed for training in trainings]
    assert len({*seeds, BASE.train.seed}) == 5
    for training in trainings:
        assert training.config.fingerprint() in training.run_name
        assert training.config.with_fields({"train.seed": BASE.train.seed}) == on_data


def test_the_gain_is_counted_by_hand() -> None:
    """0.6 points when chosen; against defaults trained alike 0.3 stay, by seed 0.2 to 0.4, half of it."""
    gain = Gain(chosen=CHOSEN, retrained=(0.042, 0.043, 0.044), defaults_retrained=(0.044, 0.046, 0.048))

    assert gain.promised == pytest.approx(0.006)
    assert gain.kept == pytest.approx(0.003)
    assert gain.by_seed is not None
    assert gain.by_seed.low == pytest.approx(0.003 - 4.30265 * 0.001 / 3**0.5, abs=1e-6)  # t of two degrees
    text = gain.text()
    assert "0.60 points better when chosen" in text
    assert "0.30 points, 50 % of it, survive" in text
    assert "it is a gain" in text


def test_words_follow_the_interval() -> None:
    """What may be chance is not called a gain, and a loss is called one."""
    chance = Gain(chosen=CHOSEN, retrained=(0.042, 0.046), defaults_retrained=(0.044, 0.045))
    loss = Gain(chosen=CHOSEN, retrained=(0.052, 0.053, 0.054), defaults_retrained=(0.042, 0.043, 0.0441))

    assert "may be chance" in chance.text()
    assert "it is a loss" in loss.text()


def test_other_lengths_are_not_compared() -> None:
    """Trained for longer than in the search, errors stand beside defaults trained alike or not at all."""
    longer = Gain(chosen=CHOSEN, retrained=(0.03, 0.031), changed=("train.epochs",))

    assert longer.kept is None
    assert "another train.epochs" in longer.text()
    assert replace(longer, defaults_retrained=(0.034, 0.035)).kept == pytest.approx(0.004)


@settings(deadline=None)
@given(st.lists(st.tuples(NME, NME), min_size=2, max_size=6), st.floats(0, 0.3))
def test_a_gain_does_not_depend_on_the_level(pairs: list[tuple[float, float]], shift: float) -> None:
    """All errors larger by the same, the gain is the same; and it lies within its interval."""
    ours, theirs = zip(*pairs, strict=True)
    here = Gain(chosen=CHOSEN, retrained=ours, defaults_retrained=theirs)
    there = Gain(
        chosen=CHOSEN,
        retrained=tuple(value + shift for value in ours),
        defaults_retrained=tuple(value + shift for value in theirs),
    )

    assert here.kept is not None and there.kept == pytest.approx(here.kept, abs=1e-9)
    assert here.by_seed is not None and here.by_seed.low - 1e-9 <= here.kept <= here.by_seed.high + 1e-9
