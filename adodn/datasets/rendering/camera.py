"""From millimetres of the head to pixels: pose and perspective. What hides what is `rasteriser.py`'s."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.compiled import compiled

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
        flat = np.ascontiguousarray(points.reshape(3, -1))
        pixels, heights = np.empty_like(flat[:2]), np.empty_like(flat[2])
        _project(
            flat, self.rotation, self.rotation @ HEAD_CENTRE, self.distance, self.scale, self.offset, pixels, heights
        )
        return pixels.reshape(2, *points.shape[1:]), heights.reshape(points.shape[1:])

    def outline(self, points: Reals) -> Reals:
        """Pixels `[N, 2]` of points `[N, 3]` of the head."""
        return np.asarray(self.project(points.T)[0].T)


@compiled
def _project(
    points: NDArray[np.floating],
    rotation: Reals,
    centre: Reals,
    distance: float,
    scale: float,
    offset: Reals,
    pixels: NDArray[np.floating],
    heights: NDArray[np.floating],
) -> None:
    """Fill `pixels` `[2, N]` and `heights` `[N]`; `centre` is the head's, turned."""
    for n in range(len(heights)):
        x, y, z = points[0, n], points[1, n], points[2, n]
        height = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z - centre[2]
        zoom = scale * distance / (distance - height)
        for axis in range(2):
            across = rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2] * z - centre[axis]
            pixels[axis, n] = across * zoom + offset[axis]
        heights[n] = height


def rotation(yaw: float, pitch: float, roll: float) -> Reals:
    """`[3, 3]`; radians. Positive yaw turns the nose to the image's right, positive pitch down, roll clockwise."""
    cy, sy, cp, sp, cr, sr = (turn(angle) for angle in (yaw, pitch, roll) for turn in (math.cos, math.sin))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn)
