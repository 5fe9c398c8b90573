"""What a study has found so far: its finished trials as arrays, and the axes they lie on. Draws nothing.

finished = Finished.of(study, defaults=0)
finished.values[finished.best], finished.places(finished.parameter("tau_d"))
importances(finished)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from adodn.errors import ConfigError

Reals = NDArray[np.float64]

UNITS = {
    "nme": ("validation NME (%)", 100.0),
    "masked_nme": ("validation NME, masked faces (%)", 100.0),
    "parameters": ("parameters (millions)", 1e-6),
}
"""Objective → what axes call it, and what its values are multiplied by for them."""
FORESTS = 3
"""Random forests that importances are the mean of."""
_LEAST_FOR_IMPORTANCE = 10
_LEAST_FOR_SURFACE = 8
_SMOOTHING = 0.5
_REACH = 0.15
"""How far from the nearest trial a surface goes, as a share of the axes."""


class LeftOutError(Exception):
    """What this study cannot give; the message is the reason, for whoever reads the results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One axis of the search."""

    name: str
    distribution: BaseDistribution

    @property
    def is_log(self) -> bool:
        """Whether it is searched on a logarithmic scale."""
        return bool(getattr(self.distribution, "log", False))

    @property
    def choices(self) -> list[object]:
        """Those of a categorical one, numbers in order; none of another."""
        if not isinstance(self.distribution, CategoricalDistribution):
            return []
        choices = list(self.distribution.choices)
        return sorted(choices) if all(isinstance(choice, (int, float)) for choice in choices) else choices

    @property
    def ends(self) -> tuple[float, float]:
        """Least and greatest value; of a categorical one, the places of its first and last choice."""
        if self.choices:
            return 0.0, float(len(self.choices) - 1)
        return float(getattr(self.distribution, "low")), float(getattr(self.distribution, "high"))  # noqa: B009

    def on_axis(self, value: object) -> float:
        """The value as an axis has it: itself, or the place of a choice."""
        return float(self.choices.index(value)) if self.choices else float(value)  # type: ignore[arg-type]

    def share(self, value: object) -> float:
        """Where a value lies between the ends of what is searched, 0 … 1."""
        return self.share_on_axis(self.on_axis(value))

    def share_on_axis(self, at: float) -> float:
        """The same of a place on the axis."""
        low, high = self.ends
        if self.is_log:
            low, high, at = np.log(low), np.log(high), np.log(at)
        return float((at - low) / (high - low)) if high > low else 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Finished:
    """The T trials that ended with finite values."""

    study: optuna.Study
    trials: list[FrozenTrial]
    parameters: list[Parameter]
    """Those that all trials have and that differ between some."""
    constant: list[str]
    """Names of those that never varied."""
    values: Reals
    """`[T, O]`, one column an objective, in the unit of `objectives`."""
    objectives: list[str]
    """What axes call them, with the unit."""
    defaults: int | None
    """Place among `trials` of the one that had the papers' defaults."""

    @staticmethod
    def of(study: optuna.Study, *, objectives: Sequence[str] = ("nme",), defaults: int | None = None) -> "Finished":
        """Read a study, which may still be running.

        Args:
            study: Its objectives are minimised.
            objectives: Their names, in the study's order; `UNITS` knows how to show some.
            defaults: Number of the trial with the papers' defaults.

        Raises:
            ConfigError: If an objective is maximised, the study has another number of them, or no trial has finished.
        """
        if study.directions != [StudyDirection.MINIMIZE] * len(objectives):
            found = ", ".join(direction.name.lower() for direction in study.directions)
            raise ConfigError(f"study {study.study_name!r} must minimise {', '.join(objectives)}, it has: {found}")
        trials = _with_values(study)
        units = [UNITS.get(name, (name.replace("_", " "), 1.0)) for name in objectives]
        searched = _searched(trials)
        varied = [one for one in searched if len({trial.params[one.name] for trial in trials}) > 1]
        return Finished(
            study=study,
            trials=trials,
            parameters=varied,
            constant=[one.name for one in searched if one not in varied],
            values=np.array([trial.values for trial in trials], dtype=np.float64) * [factor for _, factor in units],
            objectives=[label for label, _ in units],
            defaults=next((place for place, trial in enumerate(trials) if trial.number == defaults), None),
        )

    @property
    def best(self) -> int:
        """Place of the trial that is best by the first objective."""
        return int(np.argmin(self.values[:, 0]))

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name.

        Raises:
            LeftOutError: If it was not searched, or never varied.
        """
        for one in self.parameters:
            if one.name == name:
                return one
        why = "never varied" if name in self.constant else "was not searched"
        raise LeftOutError(f"parameter {name!r} {why} in the finished trials")

    def shares(self, parameter: Parameter) -> Reals:
        """`[T]`: where each trial lies on that axis, 0 … 1."""
        return np.array([parameter.share(trial.params[parameter.name]) for trial in self.trials])

    def places(self, parameter: Parameter) -> Reals:
        """`[T]`: the trials' values, as an axis has them."""
        return np.array([parameter.on_axis(trial.params[parameter.name]) for trial in self.trials])

    def others(self, state: TrialState) -> list[int]:
        """Numbers of the trials in another state, e.g. failed."""
        return [trial.number for trial in self.study.get_trials(deepcopy=False) if trial.state == state]


def importances(finished: Finished) -> dict[str, tuple[float, float]]:
    """What share of the error's variance over the space each parameter explains by itself: fANOVA.

    Optuna's `FanovaImportanceEvaluator` (Hutter et al., 2014), shares scaled to a sum of 1. A forest is random, so this
    is the mean of several. Optuna takes the variance over a range as if it were searched linearly: of a logarithmic
    one, only the highest decade would count. So it is given where values lie on the scale of the search.

    Returns:
        Name → mean and standard deviation over forests, the most important first.

    Raises:
        LeftOutError: If there are too few trials, or nothing varied.
    """
    count = len(finished.trials)
    if count < _LEAST_FOR_IMPORTANCE:
        raise LeftOutError(f"importance needs at least {_LEAST_FOR_IMPORTANCE} finished trials, there are {count}")
    if not finished.parameters or np.ptp(finished.values[:, 0]) == 0:
        raise LeftOutError("importance needs parameters and errors that vary, and these do not")
    names, study = [one.name for one in finished.parameters], _on_scale(finished)
    forests = [get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed)) for seed in range(FORESTS)]
    found = {name: np.array([forest[name] for forest in forests]) for name in names}
    ranked = sorted(names, key=lambda name: -found[name].mean())
    return {name: (float(found[name].mean()), float(found[name].std(ddof=1))) for name in ranked}


def _on_scale(finished: Finished) -> optuna.Study:
    """A study in memory of the same trials, numbers as shares of the way along their axis."""
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study that it makes
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(loud)
    axes: dict[str, BaseDistribution] = {
        one.name: one.distribution if one.choices else FloatDistribution(0, 1) for one in finished.parameters
    }
    for trial, value in zip(finished.trials, finished.values[:, 0], strict=True):
        params = {
            one.name: trial.params[one.name] if one.choices else min(1.0, max(0.0, one.share(trial.params[one.name])))
            for one in finished.parameters
        }
        study.add_trial(optuna.trial.create_trial(params=params, distributions=axes, value=float(value)))
    return study


def surface(points: Reals, errors: Reals, steps: Reals) -> Reals:
    """`[N, N]`: a smooth surface through the middle of the trials, rows being the second coordinate; NaN far from all.

    A thin plate over the errors' logarithms that may miss points, because other parameters and chance move them; it
    never leaves the range of what was seen.

    Args:
        points: `[T, 2]`, each coordinate 0 … 1.
        errors: `[T]`, above 0.
        steps: `[N]`, coordinates of rows and of columns.

    Raises:
        LeftOutError: If there are too few places, all on a line, or an error is not above 0.
    """
    places, owner = np.unique(points.round(6), axis=0, return_inverse=True)
    flat = np.linalg.matrix_rank(places - places.mean(axis=0), tol=1e-3) < 2
    if len(places) < _LEAST_FOR_SURFACE or flat or errors.min() <= 0:
        raise LeftOutError(
            f"a contour needs errors above 0 at {_LEAST_FOR_SURFACE} places or more, not all on a line; "
            f"there are {len(places)}"
        )
    means = np.bincount(owner.ravel(), np.log(errors)) / np.bincount(owner.ravel())
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    plate = RBFInterpolator(places, means, smoothing=_SMOOTHING)
    heights: Reals = np.exp(plate(grid)).clip(errors.min(), errors.max())
    heights[cKDTree(places).query(grid)[0] > _REACH] = np.nan
    return heights.reshape(len(steps), len(steps))


def _with_values(study: optuna.Study) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    kept = [t for t in trials if t.state == TrialState.COMPLETE and t.values and np.isfinite(t.values).all()]
    if not kept:
        states = sorted({trial.state.name for trial in trials})
        raise ConfigError(
            f"study {study.study_name!r} must have a trial that finished with finite values, it has "
            f"{f'{len(trials)} trials: ' + ', '.join(states) if trials else 'none at all'}; let one finish first"
        )
    return kept


def _searched(trials: list[FrozenTrial]) -> list[Parameter]:
    """Parameters of all trials, with the latest trial's ranges."""
    return [
        Parameter(name=name, distribution=distribution)
        for name, distribution in trials[-1].distributions.items()
        if all(name in trial.params for trial in trials)
    ]
