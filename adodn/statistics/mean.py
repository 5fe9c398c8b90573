"""The interval of a mean over a few independent trainings. Of differences between recipes, `compare_trainings` speaks.

mean_interval([0.041, 0.043, 0.040])    # a number for each seed
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanInterval:
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float
    confidence: float


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> MeanInterval:
    """Student's t interval of a mean, for the few numbers that seeds give; it takes them to be normal.

    Args:
        values: At least 2, of independent trainings.
        confidence: Between 0 and 1.

    Raises:
        ValueError: If there are fewer than 2, or one is not finite.
    """
    known = np.asarray(values, dtype=np.float64)
    if known.ndim != 1 or len(known) < 2 or not np.isfinite(known).all():
        raise ValueError(f"an interval needs at least 2 finite numbers, got {list(values)!r}")
    reach = float(stats.t.ppf((1 + confidence) / 2, len(known) - 1) * stats.sem(known))
    mean = float(known.mean())
    return MeanInterval(mean=mean, low=mean - reach, high=mean + reach, confidence=confidence)
