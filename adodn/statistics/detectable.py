"""What a comparison could have found: how large a difference must be to be seen with so many faces.

minimum_detectable_difference(a, b)     # 0.0004: with these faces a true difference of 0.04 points is found in 4 of 5
"""

import math
from collections.abc import Sequence

from scipy import optimize, stats

from adodn.metrics import Array
from adodn.statistics.pairs import paired_differences


def minimum_detectable_difference(
    a: Array | Sequence[float], b: Array | Sequence[float], *, level: float = 0.05, power: float = 0.8
) -> float:
    """The mean difference that a two-sided paired test would find with this power.

    It uses the spread of the differences and the number of faces, and never the difference that was seen: the power
    "at the observed effect" says no more than the p-value. The test is Student's, by whose noncentral distribution
    power is exact for normal differences and, from some dozens of faces on, near it for others; so it is for the
    permutation test, which agrees with Student's there.

    Args:
        a: `[N]`, one error a face.
        b: `[N]`, the errors of the same faces in the same order.
        level: Below which p-value a difference counts as found.
        power: How often a true difference of that size would be found; above the level.

    Returns:
        In the unit of the errors; 0 where all differences agree.

    Raises:
        ValueError: If the two are not of one length of at least 2, hold a number that is not finite, or level and
            power are not 0 < level < power < 1.
    """
    differences = paired_differences(a, b)
    if not 0 < level < power < 1:
        raise ValueError(f"level and power must be 0 < level < power < 1, got {level!r} and {power!r}")
    count = len(differences)
    critical = float(stats.t.isf(level / 2, count - 1))

    def lacking(shift: float) -> float:
        """How much power lacks where the true mean is so many standard errors; a wrong sign is no find."""
        return power - float(stats.nct.sf(critical, count - 1, shift))

    upper = critical
    while lacking(upper) > 0:
        upper *= 2
    shift = float(optimize.brentq(lacking, 0, upper))
    return shift * float(differences.std(ddof=1)) / math.sqrt(count)
