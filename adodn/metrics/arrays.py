"""What goes into a metric, made float64 on the CPU, and how a face that cannot be measured is refused.

refuse(~(scale > 0), scale, "normaliser must be above 0")   # ValueError: face 3: normaliser must be above 0, got 0.0 …
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Array: TypeAlias = torch.Tensor | NDArray[np.floating] | NDArray[np.integer] | NDArray[np.bool_]
Errors: TypeAlias = Array | Sequence[float]


def double(values: Errors) -> torch.Tensor:
    """float64, on the CPU, outside of any gradient."""
    return torch.as_tensor(values, dtype=torch.float64).detach().cpu()


def flags(values: Array, like: torch.Tensor, what: str) -> torch.Tensor:
    """Booleans of the same shape as `like`.

    Raises:
        ValueError: If they are of another type or shape; a number is not taken for a flag.
    """
    marks = torch.as_tensor(values).detach().cpu()
    if marks.dtype != torch.bool or marks.shape != like.shape:
        raise ValueError(f"{what} must be bool {list(like.shape)}, got {marks.dtype} {list(marks.shape)}")
    return marks


def face_errors(errors: Errors) -> torch.Tensor:
    """One error a face, `[B]`.

    Raises:
        ValueError: If there are none, or one is negative, infinite or NaN.
    """
    values = double(errors)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"errors must be [B] with at least one face, got {list(values.shape)}")
    refuse(~(values >= 0) | values.isinf(), values, "an error must be a finite number of at least 0")
    return values


def point_errors(errors: Array) -> torch.Tensor:
    """One error a landmark, `[B, L]`.

    Raises:
        ValueError: If there are none, or one is negative, infinite or NaN.
    """
    values = double(errors)
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"landmark errors must be [B, L] with at least one of each, got {list(values.shape)}")
    rule = "errors of its landmarks must be finite numbers of at least 0; the largest"
    refuse(~((values >= 0) & values.isfinite()).all(dim=1), values.amax(dim=1), rule)
    return values


def refuse(bad: torch.Tensor, values: torch.Tensor, rule: str) -> None:
    """Name the first bad face.

    Args:
        bad: `[B]` bool.
        values: `[B]`, what is wrong about each.
        rule: What it should be.

    Raises:
        ValueError: If any is bad.
    """
    if bad.any():
        face = int(bad.nonzero()[0])
        raise ValueError(f"face {face}: {rule}, got {values[face].item()!r} ({int(bad.sum())} such faces)")
