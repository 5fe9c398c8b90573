"""One rendered face, from seed to pixels. Not the dataset: splits, keys and JPEG are in `adodn.datasets.synthetic`.

face = render(0, "train", 7, 160)
face.image, face.landmarks, face.visible
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.shape import MEAN_LANDMARKS
from adodn.errors import ConfigError

KINDS = ("train", "val", "common", "challenging")
MIN_SIZE_PX, MAX_SIZE_PX = 64, 512
PHOTOS_PER_PERSON = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RenderedFace:
    """A drawn face and what is known of it."""

    image: NDArray[np.uint8]
    """`[H, W, 3]`, RGB."""
    landmarks: NDArray[np.float64]
    """`[68, 2]`, pixels."""
    visible: NDArray[np.bool_]
    """`[68]`; False where turned away or covered by a drawn occluder."""
    attributes: dict[str, str | float | bool] = field(default_factory=dict)


def render(seed: int, split_kind: str, index: int, size_px: int) -> RenderedFace:
    """Draw a face; equal arguments give equal bytes.

    Args:
        seed: Of the whole dataset.
        split_kind: One of `KINDS`.
        index: Of the face within its kind.
        size_px: Side of the square image.

    Raises:
        ConfigError: If `split_kind` is unknown.
    """
    if split_kind not in KINDS:
        raise ConfigError(f"split_kind must be one of {', '.join(KINDS)}, got {split_kind!r}")
    rng = np.random.default_rng([seed, KINDS.index(split_kind), index])
    yaw = np.radians(rng.uniform(-65, 65) if split_kind == "challenging" else rng.uniform(-30, 30))
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    points = (MEAN_LANDMARKS - [0, 45, -40]) @ turn.T
    landmarks = points[:, :2] * (size_px / 260) + (size_px - 1) / 2
    image = np.full((size_px, size_px, 3), rng.integers(0, 255, 3), np.uint8)
    skin = tuple(int(v) for v in rng.integers(60, 220, 3))
    fixed = np.rint(landmarks * 16).astype(np.int32)
    cv2.fillConvexPoly(image, cv2.convexHull(fixed), skin, cv2.LINE_AA, 4)
    for part in (range(36, 42), range(42, 48), range(48, 60)):
        cv2.fillPoly(image, [fixed[list(part)]], (30, 20, 40), cv2.LINE_AA, 4)
    attributes: dict[str, str | float | bool] = {"yaw_deg": float(np.degrees(yaw)), "occluder": "none"}
    return RenderedFace(image=image, landmarks=landmarks, visible=np.ones(68, bool), attributes=attributes)
