"""What a study found: importances and surfaces of functions that are known, and pictures of studies of every kind.

pytest tests/unit/test_search_pictures.py
"""

import io
import math
from collections.abc import Callable, Mapping

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from PIL import Image

from adodn.errors import ConfigError
from tune.finished import Finished, LeftOutError, Parameter, importances, surface
from tune.pictures import draw

SPACE: dict[str, BaseDistribution] = {
    "beta": FloatDistribution(1e-8, 1e-2, log=True),
    "p": FloatDistribution(0.0, 1.0),
    "tau_d": FloatDistribution(0.1, 1.0),
    "r": CategoricalDistribution([4, 8, 16, 32]),
}
ALL = {"history.png", "importance.png", "slices.png", "contour.png", "parallel.png", "pareto.png"}


def nme(values: Mapping[str, float]) -> float:
    """Of the variance, 100 parts are β's, 9 p's, 1 τ_d's and none r's."""
    shares = (math.log10(values["beta"]) + 8) / 6, values["p"], (values["tau_d"] - 0.1) / 0.9
    return 0.04 + 0.01 * (10 * shares[0] + 3 * shares[1] + 1 * shares[2])


def study_of(
    trials: int,
    function: Callable[[Mapping[str, float]], float | tuple[float, ...]] = nme,
    space: Mapping[str, BaseDistribution] = SPACE,
    objectives: int = 1,
) -> optuna.Study:
    """A real study in memory, of values drawn at random."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="known", directions=["minimize"] * objectives, sampler=sampler)
    for _ in range(trials):
        trial = study.ask(dict(space))
        study.tell(trial, function(trial.params))
    return study


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def count(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((abs(image - colour).sum(axis=-1) < 12).sum())


ORANGE = (213, 94, 0)


def test_importance_is_the_share_of_the_variance() -> None:
    """Of a sum of three parameters, each explains the square of its factor over the scale of the search, logarithmic or
    not; one that is not in it explains nothing."""
    found = importances(Finished.of(study_of(80)))

    assert list(found)[:2] == ["beta", "p"]
    assert found["beta"][0] == pytest.approx(100 / 110, abs=0.06)
    assert found["r"][0] < 0.03
    assert sum(mean for mean, _ in found.values()) == pytest.approx(1)


def test_a_surface_is_what_the_errors_say_and_ends_where_there_are_none() -> None:
    """A slope in the logarithm is met within a hundredth among the points; far from all of them there is nothing."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 0.5, (60, 2))
    errors = np.exp(points[:, 0] - 2 * points[:, 1])
    steps = np.linspace(0, 1, 21)

    heights = surface(points, errors, steps)

    assert heights[4, 6] == pytest.approx(math.exp(0.3 - 2 * 0.2), rel=0.01)
    assert np.isnan(heights[20]).all() and np.isnan(heights[:, 20]).all()
    assert np.nanmin(heights) >= errors.min() and np.nanmax(heights) <= errors.max()


@pytest.mark.parametrize(
    "points",
    [np.full((20, 2), 0.3), np.column_stack([np.linspace(0, 1, 20)] * 2), np.array([[0.0, 0], [1, 0], [0, 1]])],
    ids=["one place", "a line", "few"],
)
def test_no_surface_goes_through_too_little(points: np.ndarray) -> None:
    """One place, a line or three points span none, and the reason is said."""
    with pytest.raises(LeftOutError, match="not all on a line"):
        surface(points, np.linspace(1, 2, len(points)), np.linspace(0, 1, 5))


def test_shares_go_by_the_scale_of_the_search() -> None:
    """The middle of a logarithmic range is its geometric mean; choices lie in the order of their numbers."""
    beta = Parameter(name="beta", distribution=SPACE["beta"])
    r = Parameter(name="r", distribution=CategoricalDistribution([32, 4, 16]))

    assert beta.share(1e-5) == pytest.approx(0.5)
    assert [r.share(choice) for choice in (4, 16, 32)] == [0, 0.5, 1]


def test_a_study_gives_all_pictures_but_a_front() -> None:
    """Each is a PNG with something on it, and one objective has no Pareto front."""
    pictures = draw(study_of(14))

    assert pictures.drawn.keys() == ALL - {"pareto.png"}
    assert "two objectives" in pictures.left_out["pareto.png"]
    for name, data in pictures.drawn.items():
        assert len(np.unique(pixels(data).reshape(-1, 3), axis=0)) > 20, name


def test_the_defaults_are_marked() -> None:
    """The line of the papers' defaults is there exactly if a finished trial had them."""
    study = study_of(4)
    marked, unmarked = (count(pixels(draw(study, defaults=n).drawn["history.png"]), ORANGE) for n in (0, 77))

    assert marked > 200
    assert unmarked == 0


def test_the_front_holds_what_none_beats() -> None:
    """Of two objectives that pull apart every trial is on the front; where they agree, only the best is."""
    apart = study_of(10, lambda v: (v["p"] + 0.1, 2e7 - 1e7 * v["p"]), objectives=2)
    agree = study_of(10, lambda v: (v["p"] + 0.1, 1e7 * v["p"]), objectives=2)
    dark = (0, 114, 178)

    fronts = [draw(one, objectives=("nme", "parameters")).drawn["pareto.png"] for one in (apart, agree)]

    many, few = (count(pixels(front), dark) for front in fronts)
    assert many > 4 * few > 0


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING, None])
def test_a_study_without_a_finished_trial_is_refused(state: TrialState | None) -> None:
    """The error names the study and what became of its trials."""
    study = optuna.create_study(study_name="night")
    if state is not None:
        trial = study.ask(dict(SPACE))
        if state == TrialState.PRUNED:
            trial.report(0.1, 1)
        if state != TrialState.RUNNING:
            study.tell(trial, state=state)

    with pytest.raises(ConfigError, match=f"'night'.*{'none at all' if state is None else state.name}"):
        draw(study)


def test_an_infinite_error_is_no_finished_trial() -> None:
    """Infinity would hide all other trials; alone it is refused, among others it is left out."""
    with pytest.raises(ConfigError, match="finite values"):
        draw(study_of(3, lambda values: math.inf))
    study = study_of(12, lambda v: math.inf if v["p"] > 0.5 else nme(v))

    finished = Finished.of(study)
    assert 0 < len(finished.trials) < 12
    assert "history.png" in draw(study).drawn


def test_one_trial_has_a_history_and_reasons() -> None:
    """All that compares trials is left out, each with its reason."""
    pictures = draw(study_of(1))

    assert pictures.drawn.keys() == {"history.png"}
    assert pictures.left_out.keys() == ALL - {"history.png"}
    assert "never varied" in pictures.left_out["slices.png"]


def test_what_never_varied_is_left_out_and_named() -> None:
    """A constant parameter has no slice or importance, and no contour goes over it."""
    study = study_of(14, space=SPACE | {"tau_d": FloatDistribution(0.8, 0.8)})

    finished, pictures = Finished.of(study), draw(study)

    assert finished.constant == ["tau_d"]
    assert [one.name for one in finished.parameters] == ["beta", "p", "r"]
    assert pictures.left_out["contour.png"] == "parameter 'tau_d' never varied in the finished trials"
    assert {"importance.png", "slices.png", "parallel.png"} <= pictures.drawn.keys()


def test_equal_errors_have_no_importance() -> None:
    """Where nothing matters there is no variance to explain; the rest is drawn."""
    pictures = draw(study_of(14, lambda values: 0.05))

    assert "vary" in pictures.left_out["importance.png"]
    assert {"history.png", "slices.png", "parallel.png"} <= pictures.drawn.keys()


def test_objectives_must_be_those_of_the_study() -> None:
    """Another number of them, or one that is maximised, is refused by name."""
    with pytest.raises(ConfigError, match="must minimise nme, parameters"):
        draw(study_of(3), objectives=("nme", "parameters"))
    with pytest.raises(ConfigError, match="maximize"):
        draw(optuna.create_study(direction="maximize"))
