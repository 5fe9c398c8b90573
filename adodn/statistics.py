"""Whether two models differ on the same faces: paired tests over per-face errors. Not here: what an error is.

result = paired_permutation_test(errors_a, errors_b)
result.difference, result.pvalue        # mean of a - b; negative when a is better
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from adodn.metrics import Array

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
    differences = _paired(a, b)
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
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Bias-corrected and accelerated (BCa) bootstrap interval of the mean of a - b.

    Faces are drawn with replacement and keep their pair, which is to draw their differences.

    Args:
        a: `[N]`, one error a face.
        b: `[N]`, the errors of the same faces in the same order.
        confidence: Between 0 and 1.
        num_resamples: Bootstrap samples drawn.
        seed: Of the draw.

    Raises:
        ValueError: If the two are not of one length of at least 2, or hold a number that is not finite.
    """
    differences = _paired(a, b)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:  # BCa divides by the spread; without one, every resample has the same mean
        return Interval(difference=mean, low=mean, high=mean, confidence=confidence)
    result = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=confidence,
        vectorized=True,
        n_resamples=num_resamples,
        batch=_batch(differences),
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = (float(bound) for bound in result.confidence_interval)
    return Interval(difference=mean, low=low, high=high, confidence=confidence)


def _paired(a: Array | Sequence[float], b: Array | Sequence[float]) -> NDArray[np.float64]:
    first, second = (torch.as_tensor(values, dtype=torch.float64).detach().cpu().numpy() for values in (a, b))
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"paired errors must be two [N] of the same faces, N at least 2; "
            f"got {list(first.shape)} and {list(second.shape)}"
        )
    differences: NDArray[np.float64] = first - second
    bad = np.flatnonzero(~np.isfinite(differences))
    if len(bad):
        raise ValueError(f"errors must be finite, got {first[bad[0]]!r} and {second[bad[0]]!r} at face {bad[0]}")
    return differences


def _batch(differences: NDArray[np.float64]) -> int:
    return max(1, _NUMBERS_AT_ONCE // len(differences))
