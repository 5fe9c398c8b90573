"""What an error is: NME, failure rate, AUC and CED of faces, as fractions. Nothing here reads files or knows a dataset.

errors = nme(predicted, target, normaliser_of(protocol, target, boxes, "outer_eye_corners"))
100 * errors.mean(), failure_rate(errors, 0.10), auc(errors, 0.10)
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from adodn.errors import ConfigError
from adodn.protocols import LandmarkProtocol
from adodn.protocols.layout import BOX_SIZE

Array: TypeAlias = torch.Tensor | NDArray[np.floating] | NDArray[np.integer]
Errors: TypeAlias = Array | Sequence[float]

BOX_NORMALISERS = (BOX_SIZE, "box_width", "box_diagonal")


def nme(predicted: Array, target: Array, normaliser: Array) -> torch.Tensor:
    """Normalised mean error of each face: the mean over landmarks of the point-to-point distance, over Ω.

    Args:
        predicted: `[B, L, 2]`, pixels.
        target: `[B, L, 2]`, the same pixels.
        normaliser: `[B]`, Ω of each face in those pixels, above 0.

    Returns:
        `[B]`, float64 fractions; published figures are these times 100.

    Raises:
        ValueError: If shapes differ, there is no face, or a number is not finite; the message names the face.
    """
    distances, scale = _distances(predicted, target, normaliser)
    return distances.mean(dim=1) / scale


def nrmse_eq10(predicted: Array, target: Array, normaliser: Array) -> torch.Tensor:
    """Eq. 10 of the ADODN paper to the letter: ‖S̃ - S‖₂ / (L · Ω), the norm being over all 2L coordinates.

    It is smaller than `nme` by about √L and matches no published table, the paper's own included; figures meant to
    stand beside published ones are `nme`.

    Args:
        predicted: `[B, L, 2]`, pixels.
        target: `[B, L, 2]`, the same pixels.
        normaliser: `[B]`, Ω of each face in those pixels, above 0.

    Returns:
        `[B]`, float64 fractions.

    Raises:
        ValueError: As `nme`.
    """
    distances, scale = _distances(predicted, target, normaliser)
    return distances.square().sum(dim=1).sqrt() / (distances.shape[1] * scale)


def normaliser_of(protocol: LandmarkProtocol, landmarks: Array, boxes: Array, name: str) -> torch.Tensor:
    """The length Ω that each face's error is divided by.

    Args:
        protocol: Layout of `landmarks`; names the normalisers that are distances between points.
        landmarks: `[B, L, 2]`, the annotation, pixels.
        boxes: `[B, 4]`, x0 y0 x1 y1, the same pixels.
        name: One of the protocol's normalisers, or `box_size` (√(w · h)), `box_width`, `box_diagonal`.

    Returns:
        `[B]`, float64 pixels. May be 0 for a degenerate face; `nme` refuses that.

    Raises:
        ConfigError: If the protocol has no such normaliser.
        ValueError: If `landmarks` do not follow the protocol.
    """
    points, corners = _double(landmarks), _double(boxes)
    if points.ndim != 3 or points.shape[1:] != (protocol.num_landmarks, 2):
        rule = f"landmarks of protocol {protocol.name!r} must be [B, {protocol.num_landmarks}, 2]"
        raise ValueError(f"{rule}, got {list(points.shape)}")
    if name in protocol.normalisers:
        first, second = (points[:, list(group)].mean(dim=1) for group in protocol.normalisers[name])
        return torch.hypot(*(first - second).unbind(dim=1))
    width, height = (corners[:, 2:] - corners[:, :2]).clamp(min=0).unbind(dim=1)
    lengths = dict(zip(BOX_NORMALISERS, ((width * height).sqrt(), width, torch.hypot(width, height)), strict=True))
    if name not in lengths:
        names = sorted([*protocol.normalisers, *BOX_NORMALISERS])
        raise ConfigError(f"protocol {protocol.name!r} has no normaliser {name!r}; available: {', '.join(names)}")
    return lengths[name]


def ced(errors: Errors, thresholds: Errors) -> torch.Tensor:
    """Cumulative error distribution: the fraction of faces whose error is at most each threshold.

    Args:
        errors: `[B]`, fractions.
        thresholds: `[T]`, fractions.

    Returns:
        `[T]`, float64, 0 … 1.

    Raises:
        ValueError: If there are no errors, or one is negative or NaN.
    """
    ordered = _errors(errors).sort().values
    return torch.searchsorted(ordered, _double(thresholds), right=True).double() / len(ordered)


def failure_rate(errors: Errors, threshold: float) -> float:
    """Fraction of faces whose error lies strictly above the threshold.

    Args:
        errors: `[B]`, fractions.
        threshold: A fraction, usually 0.08 or 0.10.

    Raises:
        ValueError: If there are no errors, one is negative or NaN, or the threshold is not above 0.
    """
    return float((_errors(errors) > _threshold(threshold)).double().mean())


def auc(errors: Errors, threshold: float) -> float:
    """Area under the CED from 0 to the threshold, over the threshold: 1 when no face has any error.

    The CED is a step function that a face enters at its error e, so its area is exactly the mean of
    max(0, threshold - e): there is no grid and no interpolation.

    Args:
        errors: `[B]`, fractions.
        threshold: A fraction, usually 0.08 or 0.10.

    Raises:
        ValueError: If there are no errors, one is negative or NaN, or the threshold is not above 0.
    """
    return float((_threshold(threshold) - _errors(errors)).clamp(min=0).mean() / threshold)


def _distances(predicted: Array, target: Array, normaliser: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Point-to-point distances `[B, L]` and checked normalisers `[B]`."""
    points, truth, scale = _double(predicted), _double(target), _double(normaliser)
    if points.ndim != 3 or points.shape[2] != 2 or points.numel() == 0:
        raise ValueError(f"predicted landmarks must be [B, L, 2] with at least one face, got {list(points.shape)}")
    if truth.shape != points.shape or scale.shape != points.shape[:1]:
        raise ValueError(
            f"target must be {list(points.shape)} and normaliser {list(points.shape[:1])}, like the prediction; "
            f"got {list(truth.shape)} and {list(scale.shape)}"
        )
    _refuse(~(scale > 0) | scale.isinf(), scale, "normaliser must be finite and above 0")
    distances = torch.hypot(*(points - truth).unbind(dim=2))
    _refuse(~distances.isfinite().all(dim=1), distances.amax(dim=1), "landmarks must be finite; its largest distance")
    return distances, scale


def _refuse(bad: torch.Tensor, values: torch.Tensor, rule: str) -> None:
    if bad.any():
        face = int(bad.nonzero()[0])
        raise ValueError(f"face {face}: {rule}, got {values[face].item()!r} ({int(bad.sum())} such faces)")


def _errors(errors: Errors) -> torch.Tensor:
    values = _double(errors)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"errors must be [B] with at least one face, got {list(values.shape)}")
    _refuse(~(values >= 0), values, "an error must be a number of at least 0")
    return values


def _threshold(threshold: float) -> float:
    if not 0 < threshold < float("inf"):
        raise ValueError(f"threshold must be a finite fraction above 0, got {threshold!r}")
    return threshold


def _double(values: Errors) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)
