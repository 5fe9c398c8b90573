"""Several comparisons at once: p-values made larger, so that many looks do not find by chance what one would not.

adjusted_pvalues({"common": 0.01, "challenging": 0.04})     # {"common": 0.02, "challenging": 0.04}
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy import stats


def adjusted_pvalues(pvalues: Mapping[str, float], *, method: Literal["holm", "bh", "by"] = "holm") -> dict[str, float]:
    """P-values adjusted for their number; compare each with the level as if it stood alone.

    `holm` (Holm 1979) bounds the chance that even one difference is found where there is none, and needs no
    independence. `bh` (Benjamini and Hochberg 1995) bounds the share of false ones among those found, for p-values that
    are independent or rise together; `by` (Benjamini and Yekutieli 2001) does so always.

    Args:
        pvalues: Name of a comparison → its p-value.
        method: What is bounded.

    Returns:
        The same names in the same order → adjusted p-values.

    Raises:
        ValueError: If there is none, or one is not in 0 … 1.
    """
    bad = {name: value for name, value in pvalues.items() if not 0 <= value <= 1}
    if bad or not pvalues:
        raise ValueError(f"p-values must be one or more numbers in 0 … 1, got {bad or dict(pvalues)!r}")
    values = np.array(list(pvalues.values()))
    adjusted = _holm(values) if method == "holm" else stats.false_discovery_control(values, method=method)
    return dict(zip(pvalues, adjusted.tolist(), strict=True))


def _holm(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values)
    steps = values[order] * np.arange(len(values), 0, -1)  # the smallest of m times m, the next times m - 1, …
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
