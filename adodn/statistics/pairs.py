"""Errors of the same faces by two models, checked and made differences.

paired_differences([0.03, 0.05], [0.04, 0.05])      # [-0.01, 0.0]
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adodn.metrics import Array
from adodn.metrics.arrays import double


def paired_differences(a: Array | Sequence[float], b: Array | Sequence[float]) -> NDArray[np.float64]:
    """The difference a - b of each face.

    Args:
        a: `[N]`, one error a face.
        b: `[N]`, the errors of the same faces in the same order.

    Returns:
        `[N]`.

    Raises:
        ValueError: If the two are not of one length of at least 2, or hold a number that is not finite.
    """
    first, second = double(a).numpy(), double(b).numpy()
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
