"""From millimetres of the head to pixels: pose and perspective. What hides what is `rasteriser.py`'s."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]

HEAD_CENTRE = np.array([0.0, 30.0, -70.0])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Camera:
    """Pose of the head and the lens. Angles in radians."""

    rotation: Reals
    """`[3, 3]`, head to camera."""
    distance: float
    """Millimetres from the lens to the head's centre."""
    scale: float
    """Pixels per millimetre at the head's centre."""
    offset: Reals
    """`[2]`, pixels: where the head's centre lands."""

    def project(self, points: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Pixels `[2, ...]` and height towards the camera `[...]` (millimetres) of points `[3, ...]` of the head."""
        kind = points.dtype
        shift = self.rotation @ HEAD_CENTRE
        turned = self.rotation.astype(kind) @ points.reshape(3, -1) - shift.astype(kind)[:, None]
        height = turned[2]
        zoom = self.scale * self.distance / (self.distance - height)
        pixels = turned[:2] * zoom + self.offset.astype(kind)[:, None]
        return pixels.reshape(2, *points.shape[1:]), height.reshape(points.shape[1:])

    def outline(self, points: Reals) -> Reals:
        """Pixels `[N, 2]` of points `[N, 3]` of the head."""
        return np.asarray(self.project(points.T)[0].T)


def rotation(yaw: float, pitch: float, roll: float) -> Reals:
    """`[3, 3]`; radians. Positive yaw turns the nose to the image's right, positive pitch down, roll clockwise."""
    cy, sy, cp, sp, cr, sr = (turn(angle) for angle in (yaw, pitch, roll) for turn in (math.cos, math.sin))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn)
