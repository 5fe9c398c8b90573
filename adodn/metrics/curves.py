"""Figures of many faces: mean, cumulative error distribution, failure rate, area under the curve. All are exact.

mean(errors), failure_rate(errors, 0.08), auc(errors, 0.08)

The same figures by steps, as some published code has them, are in `published`.
"""

import math

import torch

from adodn.metrics.arrays import Errors, double, face_errors


def mean(errors: Errors) -> float:
    """The mean error, from a sum that is rounded once: it is the same in whatever order the faces come.

    Args:
        errors: `[B]`, fractions.

    Raises:
        ValueError: If there are no errors, or one is negative, infinite or NaN.
    """
    return _exact_mean(face_errors(errors))


def ced(errors: Errors, thresholds: Errors) -> torch.Tensor:
    """Cumulative error distribution: the fraction of faces whose error is at most each threshold.

    Args:
        errors: `[B]`, fractions.
        thresholds: `[T]`, fractions.

    Returns:
        `[T]`, float64, 0 … 1.

    Raises:
        ValueError: If there are no errors, one is negative, infinite or NaN, or a threshold is NaN.
    """
    ordered, at = face_errors(errors).sort().values, double(thresholds)
    if at.isnan().any():
        raise ValueError(f"thresholds must be numbers, got {at.tolist()!r}")
    return torch.searchsorted(ordered, at, right=True).double() / len(ordered)


def failure_rate(errors: Errors, threshold: float) -> float:
    """Fraction of faces whose error lies strictly above the threshold.

    Args:
        errors: `[B]`, fractions.
        threshold: A fraction, usually 0.08 or 0.10.

    Raises:
        ValueError: If there are no errors, one is negative, infinite or NaN, or the threshold is not above 0.
    """
    values = face_errors(errors)
    return int((values > above_zero(threshold)).sum()) / len(values)


def auc(errors: Errors, threshold: float) -> float:
    """Area under the CED from 0 to the threshold, over the threshold: 1 when no face has any error.

    The CED is a step function that a face enters at its error e, so its area is exactly the mean of
    max(0, threshold - e): there is no grid and no interpolation.

    Args:
        errors: `[B]`, fractions.
        threshold: A fraction, usually 0.08 or 0.10.

    Raises:
        ValueError: If there are no errors, one is negative, infinite or NaN, or the threshold is not above 0.
    """
    return _exact_mean((above_zero(threshold) - face_errors(errors)).clamp(min=0)) / threshold


def above_zero(threshold: float) -> float:
    """The threshold itself.

    Raises:
        ValueError: If it bounds nothing.
    """
    if not 0 < threshold < math.inf:
        raise ValueError(f"threshold must be a finite fraction above 0, got {threshold!r}")
    return threshold


def _exact_mean(values: torch.Tensor) -> float:
    return math.fsum(values.tolist()) / len(values)
