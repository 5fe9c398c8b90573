"""What figures say of each other: an AUC that an NME allows, a whole that its parts allow. For our figures and others'.

auc_bounds(0.0335, 0.10)                                        # (0.665, 1.0)
rounded_mean_range([2.80, 5.81], [554, 135], decimals=2)        # a published Full must lie in there
"""

import math
from collections.abc import Sequence

from adodn.metrics.curves import above_zero

_ROUNDING = 1e-12
"""A mean of equal errors may differ from them by this share."""


def auc_bounds(mean_error: float, threshold: float, failure_rate: float | None = None) -> tuple[float, float]:
    """The least and the greatest AUC that faces with this mean error can have.

    The AUC is the mean of f(e) = max(0, 1 - e / t), which is convex: by Jensen's inequality it is at least
    f(mean error) = 1 - mean / t. A share q of failures adds nothing, all others at most 1 each, so it is at most 1 - q;
    and where nobody fails f is a straight line for all, so that the AUC is 1 - mean / t exactly. Both bounds are
    attained: by faces that are all alike, and by faces that fail or have no error at all.

    Args:
        mean_error: Mean NME, a fraction.
        threshold: t, a fraction above 0.
        failure_rate: q at the same threshold, where it is known.

    Raises:
        ValueError: If the mean is no error, or so many failures are not possible: q failures have a mean above q · t.
    """
    limit = above_zero(threshold)
    if not 0 <= mean_error < math.inf:
        raise ValueError(f"mean error must be a finite fraction of at least 0, got {mean_error!r}")
    low = max(0.0, 1 - mean_error / limit)
    if failure_rate is None:
        return low, 1.0
    if not 0 <= failure_rate <= 1 or failure_rate * limit > mean_error * (1 + _ROUNDING):
        raise ValueError(
            f"failure rate must lie in 0 … 1 and failures of at least {limit!r} each must fit in a mean error of "
            f"{mean_error!r}, got {failure_rate!r}"
        )
    if failure_rate == 0 and mean_error > limit * (1 + _ROUNDING):
        raise ValueError(f"a mean error of {mean_error!r} above {limit!r} needs failures, got a failure rate of 0")
    return low, (1 - failure_rate if failure_rate else low)


def weighted_mean(means: Sequence[float], counts: Sequence[int]) -> float:
    """The mean over all faces from the means of disjoint groups of them, e.g. Full from Common and Challenging.

    Args:
        means: Of each group.
        counts: Faces in each.

    Raises:
        ValueError: If there is not one count of at least 1 for each mean, or a mean is not finite.
    """
    if not means or len(means) != len(counts) or min(counts) < 1 or not all(map(math.isfinite, means)):
        raise ValueError(f"each finite mean needs a count of at least 1, got {list(means)!r} and {list(counts)!r}")
    return math.fsum(value * count for value, count in zip(means, counts, strict=True)) / sum(counts)


def rounded_mean_range(means: Sequence[float], counts: Sequence[int], *, decimals: int) -> tuple[float, float]:
    """Between which printed values the whole must lie, where the parts were printed with so many decimals.

    Args:
        means: Of disjoint groups, as printed.
        counts: Faces in each.
        decimals: Digits after the point, of the parts and of the whole.

    Returns:
        The least and the greatest value that the whole can be printed as.

    Raises:
        ValueError: As `weighted_mean`.
    """
    middle, half = weighted_mean(means, counts), 0.5 * 10.0**-decimals
    return round(middle - half, decimals), round(middle + half, decimals)
