"""The numbers of a page that are not in a report yet: intervals of one model, and the comparison of two.

mean_error(report.errors.nme).low
for look in compare(a, b, {"common": ("common", "nme"), "left eye": ("full", "nme/part/left_eye")}): look.adjusted
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adodn import metrics
from adodn.errors import ConfigError
from adodn.evaluate import EvaluationReport, paired
from adodn.statistics import (
    adjusted_pvalues,
    effect_size,
    minimum_detectable_difference,
    paired_bootstrap_interval,
    paired_permutation_test,
)

LEVEL = 0.05
"""A difference counts as found where its p-value, adjusted for the number of looks, is below."""
_FEWEST = 2
"""Faces that an interval needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanError:
    """A mean over faces with its 95 % interval; fractions."""

    mean: float
    low: float | None
    """None of a single face."""
    high: float | None
    faces: int


def mean_error(values: NDArray[np.float64]) -> MeanError:
    """The mean of errors `[N]` and its BCa bootstrap interval over faces.

    Raises:
        ValueError: If there is no face.
    """
    mean, low, high = metrics.mean(values), None, None
    if len(values) >= _FEWEST:
        interval = paired_bootstrap_interval(values, np.zeros_like(values))
        low, high = interval.low, interval.high
    return MeanError(mean=mean, low=low, high=high, faces=len(values))


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One question that is asked of two models: a figure on some faces. Errors are fractions."""

    name: str
    faces: int
    a: float
    b: float
    difference: float
    """a - b: below 0 where a is better."""
    low: float
    high: float
    adjusted: float
    """P-value of the permutation test, adjusted by Holm for the looks beside it."""
    better: float
    """Share of faces on which a is better."""
    better_low: float
    better_high: float
    detectable: float

    @property
    def is_found(self) -> bool:
        """Whether chance alone is a poor explanation of the difference."""
        return self.adjusted < LEVEL


def compare(a: EvaluationReport, b: EvaluationReport, looks: Mapping[str, tuple[str, str]]) -> list[Look]:
    """Compare two models by several figures at once.

    Args:
        a: Of one model.
        b: Of the other.
        looks: Name → subset and figure. Those that fewer than two faces have are left out.

    Raises:
        DataError: If the two are not of the same faces, annotation and measure.
    """
    pairs = {name: pair for name, look in looks.items() if (pair := _pair(a, b, *look)) is not None}
    tests = {name: paired_permutation_test(*pair).pvalue for name, pair in pairs.items()}
    adjusted = adjusted_pvalues(tests) if tests else {}
    return [_look(name, *pair, adjusted[name]) for name, pair in pairs.items()]


def distinct_subsets(report: EvaluationReport, subset: str) -> tuple[str, ...]:
    """That subset and every other, without those of the same faces as one before."""
    members, seen = report.errors.members(), dict[bytes, str]()
    for name in (subset, *members):
        seen.setdefault(members[name].tobytes(), name)
    return tuple(seen.values())


def _pair(
    a: EvaluationReport, b: EvaluationReport, subset: str, figure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    try:
        pair = paired(a, b, subset=subset, figure=figure)
    except ConfigError:  # no face has it
        return None
    return pair if len(pair[0]) >= _FEWEST else None


def _look(name: str, a: NDArray[np.float64], b: NDArray[np.float64], adjusted: float) -> Look:
    interval, share = paired_bootstrap_interval(a, b), effect_size(a, b)
    return Look(
        name=name,
        faces=len(a),
        a=metrics.mean(a),
        b=metrics.mean(b),
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        adjusted=adjusted,
        better=share.value,
        better_low=share.low,
        better_high=share.high,
        detectable=minimum_detectable_difference(a, b),
    )
