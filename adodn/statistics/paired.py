"""Two models on the same faces: is the difference more than chance, and between which bounds does it lie.

result = paired_permutation_test(errors_a, errors_b)
result.difference, result.pvalue        # mean of a - b; negative when a is better
interval = paired_bootstrap_interval(errors_a, errors_b)

What is said is of these two models and of faces like these; of recipes, `compare_trainings` speaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adodn.metrics import Array
from adodn.statistics.pairs import paired_differences

_NUMBERS_AT_ONCE = 2_000_000
"""Bounds the memory of a resampling to some 16 MB, however many faces there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedTest:
    """Outcome of a paired test."""

    difference: float
    """Mean of a - b, in the unit of the errors."""
    pvalue: float
    """Two-sided: how often chance alone gives a difference at least this large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A confidence interval of the mean of a - b."""

    difference: float
    low: float
    high: float
    confidence: float
    method: Literal["BCa", "percentile"]


def paired_permutation_test(
    a: Array | Sequence[float], b: Array | Sequence[float], *, num_permutations: int = 10_000, seed: int = 0
) -> PairedTest:
    """Test whether a and b, measured on the same faces, have the same mean.

    Were the two alike, each face's pair could be swapped, which flips the sign of its difference. Where all
    2^N sign patterns are no more than `num_permutations`, they are all taken and the p-value is exact.

    Args:
        a: `[N]`, one error a face.
        b: `[N]`, the errors of the same faces in the same order.
        num_permutations: Sign patterns drawn.
        seed: Of the draw.

    Raises:
        ValueError: If the two are not of one length of at least 2, or hold a number that is not finite.
    """
    differences = paired_differences(a, b)
    result = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_permutations,
        batch=_batch(differences),
        rng=np.random.default_rng(seed),
    )
    return PairedTest(difference=float(differences.mean()), pvalue=float(result.pvalue))


def paired_bootstrap_interval(
    a: Array | Sequence[float],
    b: Array | Sequence[float],
    *,
    confidence: float = 0.95,
    method: Literal["BCa", "percentile"] = "BCa",
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of the mean of a - b.

    Faces are drawn with replacement and keep their pair, which is to draw their differences. `percentile` takes the
    quantiles of the resampled means as they are; `BCa` (bias-corrected and accelerated: Efron, Better Bootstrap
    Confidence Intervals, 1987) moves them where differences are skewed, as they are when a few faces fail.

    Args:
        a: `[N]`, one error a face.
        b: `[N]`, the errors of the same faces in the same order.
        confidence: Between 0 and 1.
        method: Which interval.
        num_resamples: Bootstrap samples drawn.
        seed: Of the draw.

    Raises:
        ValueError: If the two are not of one length of at least 2, or hold a number that is not finite.
    """
    differences = paired_differences(a, b)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:  # BCa divides by the spread; without one, every resample has the same mean
        return Interval(difference=mean, low=mean, high=mean, confidence=confidence, method=method)
    result = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=confidence,
        vectorized=True,
        n_resamples=num_resamples,
        batch=_batch(differences),
        method=method,
        rng=np.random.default_rng(seed),
    )
    low, high = (float(bound) for bound in result.confidence_interval)
    return Interval(difference=mean, low=low, high=high, confidence=confidence, method=method)


def _batch(differences: NDArray[np.float64]) -> int:
    return max(1, _NUMBERS_AT_ONCE // len(differences))
