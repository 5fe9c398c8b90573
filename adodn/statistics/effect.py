"""How large a difference is, apart from how sure: in units that do not depend on the number of faces.

effect_size(a, b).value                         # 0.61: a is better on 61 % of the faces
effect_size(a, b, name="cohen_dz").value        # -0.3: the mean difference is 0.3 of the spread of differences
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adodn.errors import DataError
from adodn.metrics import Array
from adodn.statistics.pairs import paired_differences


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectSize:
    """An effect size and its confidence interval."""

    name: Literal["better_share", "cohen_dz"]
    value: float
    low: float
    high: float
    confidence: float


def effect_size(
    a: Array | Sequence[float],
    b: Array | Sequence[float],
    *,
    name: Literal["better_share", "cohen_dz"] = "better_share",
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> EffectSize:
    """How large the difference of two models on the same faces is.

    `better_share` is the share of faces on which a has the smaller error, ties counting half: 0.5 is no effect. Its
    interval is Wilson's (1927), which ties make a little too wide. `cohen_dz` is the mean of a - b over its standard
    deviation (Cohen 1988): 0 is no effect, negative means that a is better. Its interval is a BCa bootstrap.

    Args:
        a: `[N]`, one error a face.
        b: `[N]`, the errors of the same faces in the same order.
        name: Which effect size.
        confidence: Of the interval, between 0 and 1.
        num_resamples: Bootstrap samples drawn for `cohen_dz`.
        seed: Of the draw.

    Raises:
        DataError: If `cohen_dz` is asked for and the differences have next to no spread to divide by.
        ValueError: If the two are not of one length of at least 2, or hold a number that is not finite.
    """
    differences = paired_differences(a, b)
    if name == "better_share":
        share = float(np.mean((differences < 0) + 0.5 * (differences == 0)))
        low, high = _wilson(share, len(differences), confidence)
        return EffectSize(name=name, value=share, low=low, high=high, confidence=confidence)
    value = float(_dz(differences))
    low, high = _dz_interval(differences, confidence, num_resamples, seed)
    if not np.isfinite([value, low, high]).all():
        raise DataError(
            f"Cohen's d_z divides by the spread of differences, and {len(differences)} faces have next to none; "
            "ask for better_share, or compare on more faces"
        )
    return EffectSize(name=name, value=value, low=low, high=high, confidence=confidence)


def _wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _dz(differences: NDArray[np.float64], axis: int = -1) -> Any:
    """Not finite where all differences agree."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return differences.mean(axis=axis) / differences.std(axis=axis, ddof=1)


def _dz_interval(
    differences: NDArray[np.float64], confidence: float, num_resamples: int, seed: int
) -> tuple[float, float]:
    if np.ptp(differences) == 0:
        return math.nan, math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the bounds are NaN then, which is refused
        result = stats.bootstrap(
            (differences,),
            _dz,
            confidence_level=confidence,
            vectorized=True,
            n_resamples=num_resamples,
            batch=max(1, 2_000_000 // len(differences)),  # bounds memory to some 16 MB
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
