"""Point-to-point errors over Ω: of a face, of a part of it, of its visible landmarks, of each landmark.

errors = landmark_errors(predicted, target, normaliser)             # [B, L]
nme_of_points(errors, protocol.parts["left_eye"])                   # [B]
covered, faces = nme_where(errors, ~visible)                        # faces without a covered landmark are left out
"""

from collections.abc import Sequence

import torch

from adodn.metrics.arrays import Array, double, flags, point_errors, refuse
from adodn.metrics.curves import mean


def landmark_errors(predicted: Array, target: Array, normaliser: Array) -> torch.Tensor:
    """Distance of each landmark from where it should be, over Ω of its face.

    Args:
        predicted: `[B, L, 2]`, pixels.
        target: `[B, L, 2]`, the same pixels.
        normaliser: `[B]`, Ω of each face in those pixels, above 0.

    Returns:
        `[B, L]`, float64 fractions.

    Raises:
        ValueError: If shapes differ, there is no face, or a number is not finite; the message names the face.
    """
    points, truth, scale = double(predicted), double(target), double(normaliser)
    if points.ndim != 3 or points.shape[2] != 2 or points.numel() == 0:
        raise ValueError(f"predicted landmarks must be [B, L, 2] with at least one face, got {list(points.shape)}")
    if truth.shape != points.shape or scale.shape != points.shape[:1]:
        raise ValueError(
            f"target must be {list(points.shape)} and normaliser {list(points.shape[:1])}, like the prediction; "
            f"got {list(truth.shape)} and {list(scale.shape)}"
        )
    refuse(~(scale > 0) | scale.isinf(), scale, "normaliser must be finite and above 0")
    distances = torch.hypot(*(points - truth).unbind(dim=2))
    refuse(~distances.isfinite().all(dim=1), distances.amax(dim=1), "landmarks must be finite; its largest distance")
    return distances / scale[:, None]


def nme(predicted: Array, target: Array, normaliser: Array) -> torch.Tensor:
    """Normalised mean error of each face: the mean over landmarks of the point-to-point distance, over Ω.

    Args:
        predicted: `[B, L, 2]`, pixels.
        target: `[B, L, 2]`, the same pixels.
        normaliser: `[B]`, Ω of each face in those pixels, above 0.

    Returns:
        `[B]`, float64 fractions; published figures are these times 100.

    Raises:
        ValueError: As `landmark_errors`.
    """
    return landmark_errors(predicted, target, normaliser).mean(dim=1)


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
        ValueError: As `landmark_errors`.
    """
    errors = landmark_errors(predicted, target, normaliser)
    return errors.square().sum(dim=1).sqrt() / errors.shape[1]


def nme_of_points(errors: Array, points: Sequence[int]) -> torch.Tensor:
    """NME of each face over some of its landmarks, such as those of a part.

    Args:
        errors: `[B, L]`, from `landmark_errors`.
        points: Which landmarks, 0-based.

    Returns:
        `[B]`, float64 fractions.

    Raises:
        ValueError: If there is no such landmark, none is named, or an error is not a number of at least 0.
    """
    values = point_errors(errors)
    if not points or not all(0 <= point < values.shape[1] for point in points):
        raise ValueError(f"points must be one or more of 0 … {values.shape[1] - 1}, got {list(points)!r}")
    return values[:, list(points)].mean(dim=1)


def nme_where(errors: Array, chosen: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """NME of each face over the landmarks that are chosen in it, such as those that are covered.

    Faces count alike, however many landmarks each contributes: so the mean of this is a mean over faces as every other
    figure, and two models can be compared by it face by face.

    Args:
        errors: `[B, L]`, from `landmark_errors`.
        chosen: `[B, L]`, bool.

    Returns:
        `[K]`, float64 fractions, and `[K]`, which faces they are of: those with a chosen landmark, in their order.

    Raises:
        ValueError: If no face has a chosen landmark, or an error is not a number of at least 0.
    """
    values = point_errors(errors)
    marks = flags(chosen, values, "chosen landmarks")
    counts = marks.sum(dim=1)
    faces = counts.nonzero().flatten()
    if len(faces) == 0:
        raise ValueError(f"no landmark is chosen in any of faces 0 … {len(values) - 1}; there is no mean over nothing")
    return torch.where(marks, values, 0.0).sum(dim=1)[faces] / counts[faces], faces


def nme_by_landmark(errors: Array) -> torch.Tensor:
    """The mean over faces of each landmark's error.

    Args:
        errors: `[B, L]`, from `landmark_errors`.

    Returns:
        `[L]`, float64 fractions. Their mean is the mean NME.

    Raises:
        ValueError: If there is no face, or an error is not a number of at least 0.
    """
    return torch.tensor([mean(column) for column in point_errors(errors).T], dtype=torch.float64)
