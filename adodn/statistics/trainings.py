"""Two recipes, each trained several times: is one better for faces and trainings that were not seen.

result = compare_trainings(aligned(reports_a), aligned(reports_b))      # [S, N] each
result.difference, result.pvalue, result.share_of_trainings

A test over faces alone takes the networks for the recipes, and finds a difference in what was the luck of a seed; one
over the trainings' means alone takes these faces for all faces. Here both are random, as readers and cases are where
diagnostic methods are compared (Obuchowski and Rockette 1995).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adodn.errors import DataError
from adodn.metrics import Array
from adodn.metrics.arrays import double


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingsComparison:
    """What is known of the difference of two recipes."""

    difference: float
    """Mean of a - b over trainings and faces, in the unit of the errors."""
    pvalue: float
    """Two-sided."""
    low: float
    high: float
    confidence: float
    degrees_of_freedom: float
    share_of_trainings: float
    """How much of the variance of `difference` is the luck of trainings, 0 … 1: where it is large more trainings help,
    else more faces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Variances:
    """Mean squares, each as a variance of the mean over one side's trainings and faces."""

    training: float
    residual: float
    num_trainings: int


def compare_trainings(a: Array, b: Array, *, confidence: float = 0.95) -> TrainingsComparison:
    """Compare two recipes by several trainings of each, all measured on the same faces.

    The error of training s of recipe r on face f is taken as m_r + t_rs + g_f + h_rf + e_rsf, with everything but m_r
    random. The variance of the difference of means is then V_e + max(0, V_t - V_e) + max(0, V_f - V_e): V_t from the
    spread of trainings' means, V_f from that of faces' differences, V_e from what neither explains, which is part of
    both and must count once. Its degrees of freedom are Satterthwaite's (1946), as Hillis (2007) takes them for readers
    and cases. A bootstrap over trainings and faces would answer the same question, but draws few trainings from
    themselves, and so makes their variance too small by (S - 1) / S and its tails too light.

    Args:
        a: `[S, N]`, the errors of S trainings of one recipe on N faces.
        b: `[T, N]`, those of T trainings of the other on the same faces in the same order.
        confidence: Of the interval, between 0 and 1.

    Raises:
        DataError: If a side has one training only, or one training twice.
        ValueError: If the two are not of the same two or more faces, or hold a number that is not finite.
    """
    first, second = double(a).numpy(), double(b).numpy()
    _check(first, second)
    difference = float(first.mean() - second.mean())
    sides = [_variances(side) for side in (first, second)]
    num_faces = first.shape[1]
    training, residual = sum(side.training for side in sides), sum(side.residual for side in sides)
    by_face = float((first.mean(axis=0) - second.mean(axis=0)).var(ddof=1)) / num_faces
    of_trainings = max(0.0, training - residual)
    variance = residual + of_trainings + max(0.0, by_face - residual)
    uncertainty = by_face**2 / (num_faces - 1) + sum(_uncertainty(side, num_faces) for side in sides)
    freedom = variance**2 / uncertainty
    error = math.sqrt(variance)
    half = float(stats.t.isf((1 - confidence) / 2, freedom)) * error
    return TrainingsComparison(
        difference=difference,
        pvalue=float(2 * stats.t.sf(abs(difference) / error, freedom)),
        low=difference - half,
        high=difference + half,
        confidence=confidence,
        degrees_of_freedom=freedom,
        share_of_trainings=of_trainings / variance,
    )


def _check(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] < 2:
        raise ValueError(
            f"errors must be [S, N] and [T, N] of the same faces, N at least 2; got {list(a.shape)} and {list(b.shape)}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("errors must be finite, got NaN or infinity")
    if min(len(a), len(b)) < 2:
        raise DataError(
            f"recipes are compared by at least 2 trainings each, got {len(a)} and {len(b)}; train again with other "
            "seeds, or compare the two models as they are with paired_permutation_test"
        )
    for side in (a, b):
        if len(np.unique(side, axis=0)) < len(side):
            raise DataError("each training counts once, but two have the same error on every face; name each once")


def _variances(errors: NDArray[np.float64]) -> _Variances:
    num_trainings, num_faces = errors.shape
    by_training = errors.mean(axis=1)
    residuals = errors - by_training[:, None] - errors.mean(axis=0) + errors.mean()
    mean_square = float(np.square(residuals).sum()) / ((num_trainings - 1) * (num_faces - 1))
    return _Variances(
        training=float(by_training.var(ddof=1)) / num_trainings,
        residual=mean_square / (num_trainings * num_faces),
        num_trainings=num_trainings,
    )


def _uncertainty(side: _Variances, num_faces: int) -> float:
    """What a side's mean squares add to Satterthwaite's denominator."""
    freedom = side.num_trainings - 1
    return side.training**2 / freedom + side.residual**2 / (freedom * (num_faces - 1))
