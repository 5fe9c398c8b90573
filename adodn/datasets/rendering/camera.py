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
        pixels, heights = _project(flat, self.rotation, self.distance, self.scale, self.offset)
        return pixels.reshape(2, *points.shape[1:]), heights.reshape(points.shape[1:])

    def outline(self, points: Reals) -> Reals:
        """Pixels `[N, 2]` of points `[N, 3]` of the head."""
        return np.asarray(self.project(points.T)[0].T)


@compiled
def _project(
    points: NDArray[np.floating], rotation: Reals, distance: float, scale: float, offset: Reals
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Pixels `[2, N]` and heights `[N]` of points `[3, N]`, in their precision."""
    pixels, heights = np.empty_like(points[:2]), np.empty_like(points[2])
    for n in range(len(heights)):
        x, y, z = points[0, n] - HEAD_CENTRE[0], points[1, n] - HEAD_CENTRE[1], points[2, n] - HEAD_CENTRE[2]
        height = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
        zoom = scale * distance / (distance - height)
        for axis in range(2):
            across = rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2] * z
            pixels[axis, n] = across * zoom + offset[axis]
        heights[n] = height
    return pixels, heights


def rotation(yaw: float, pitch: float, roll: float) -> Reals:
    """`[3, 3]`; radians. Positive yaw turns the nose to the image's right, positive pitch down, roll clockwise."""
    cy, cp, cr = math.cos(yaw), math.cos(pitch), math.cos(roll)
    sy, sp, sr = math.sin(yaw), math.sin(pitch), math.sin(roll)
    right = [cr * cy + sr * sp * sy, -sr * cp, cr * sy - sr * sp * cy]
    down = [sr * cy - cr * sp * sy, cr * cp, sr * sy + cr * sp * cy]
    return np.array([right, down, [-cp * sy, -sp, cp * cy]])
