"""The length Ω that a face's error is divided by: between landmarks that a protocol names, or of a box.

normaliser_of(protocols.get("68"), landmarks, boxes, "pupils")
"""

import torch

from adodn.errors import ConfigError
from adodn.metrics.arrays import Array, double
from adodn.protocols import LandmarkProtocol
from adodn.protocols.layout import BOX_SIZE

FACE_NORMALISERS = (
    BOX_SIZE,
    "box_width",
    "box_height",
    "box_diagonal",
    "landmark_box_size",
    "landmark_box_diagonal",
)
"""Those that every face has: of the face box, and of the tight box around its annotation. Sizes are √(w · h)."""


def normaliser_names(protocol: LandmarkProtocol) -> tuple[str, ...]:
    """Every name that `normaliser_of` takes, the protocol's own first."""
    return (*protocol.normalisers, *(name for name in FACE_NORMALISERS if name not in protocol.normalisers))


def normaliser_of(protocol: LandmarkProtocol, landmarks: Array, boxes: Array, name: str) -> torch.Tensor:
    """The length Ω that each face's error is divided by.

    Args:
        protocol: Layout of `landmarks`; names the normalisers that are distances between points.
        landmarks: `[B, L, 2]`, the annotation, pixels.
        boxes: `[B, 4]`, x0 y0 x1 y1, the same pixels.
        name: One of `normaliser_names`. `box_size` is what AFLW is usually reported by, `landmark_box_size`
            AFLW2000-3D, `landmark_box_diagonal` Menpo.

    Returns:
        `[B]`, float64 pixels. May be 0 for a degenerate face; `nme` refuses that.

    Raises:
        ConfigError: If the protocol has no such normaliser.
        ValueError: If `landmarks` do not follow the protocol, or there is not one box for each face.
    """
    points, corners = double(landmarks), double(boxes)
    if points.ndim != 3 or points.shape[1:] != (protocol.num_landmarks, 2):
        rule = f"landmarks of protocol {protocol.name!r} must be [B, {protocol.num_landmarks}, 2]"
        raise ValueError(f"{rule}, got {list(points.shape)}")
    if corners.shape != (len(points), 4):
        raise ValueError(f"boxes must be [{len(points)}, 4], one for each face, got {list(corners.shape)}")
    if name in protocol.normalisers:
        first, second = (points[:, list(group)].mean(dim=1) for group in protocol.normalisers[name])
        return torch.hypot(*(first - second).unbind(dim=1))
    if name not in FACE_NORMALISERS:
        known = ", ".join(sorted(normaliser_names(protocol)))
        raise ConfigError(f"protocol {protocol.name!r} has no normaliser {name!r}; available: {known}")
    if name.startswith("landmark_"):
        corners = torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)
    return _length(corners, name.removeprefix("landmark_"))


def _length(corners: torch.Tensor, name: str) -> torch.Tensor:
    width, height = (corners[:, 2:] - corners[:, :2]).clamp(min=0).unbind(dim=1)
    lengths = {
        BOX_SIZE: (width * height).sqrt(),
        "box_width": width,
        "box_height": height,
        "box_diagonal": torch.hypot(width, height),
    }
    return lengths[name]
