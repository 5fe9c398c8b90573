"""From vertices to pixels: pose, perspective, and which part of the head every pixel shows. No colours here.

The head is a sheet around a vertical axis, so drawing its columns from the one turned furthest away to the one that
faces the camera draws far before near, with no sorting by depth and no z-buffer.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.shape import AXIS_Z, COLUMNS, ROWS, bilinear, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

HEAD_CENTRE = np.array([0.0, 30.0, -70.0])
_HIDDEN_MM = 7.0
"""A landmark this much behind the surface that covers it counts as hidden; less is the mesh's own coarseness."""
_VISIBLE_ARC = np.radians(108)
_FAR_COLUMNS = 12
_LONGEST_SHIFT = 2.0


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
        """Pixels `[..., 2]` and height towards the camera `[...]` (millimetres) of points `[..., 3]` of the head."""
        turned = (points - HEAD_CENTRE.astype(points.dtype)) @ self.rotation.T.astype(points.dtype)
        height = turned[..., 2]
        zoom = self.scale * self.distance / (self.distance - height)
        return turned[..., :2] * zoom[..., None] + self.offset.astype(points.dtype), height

    @property
    def azimuth(self) -> float:
        """Angle around the head's axis at which the camera stands."""
        x, _, z = self.rotation.T @ [0.0, 0.0, self.distance] + HEAD_CENTRE
        return float(np.arctan2(x, z - AXIS_Z))


def rotation(yaw: float, pitch: float, roll: float) -> Reals:
    """`[3, 3]`; radians. Positive yaw turns the nose to the image's right, positive pitch down, roll clockwise."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Raster:
    """What every pixel of an S × S image shows of the head."""

    covered: NDArray[np.uint8]
    """`[S, S]`: 255 where the head is."""
    row: Floats
    """`[S, S]`: fractional row of the sheet; also defined one pixel outside the head."""
    column: Floats
    """`[S, S]`: fractional column of the sheet."""


def detail(size_px: int) -> int:
    """Samples per column and row of the sheet that leave no holes at that size."""
    return max(3, round(4 * size_px / 160))


def rasterise(pixels: Floats, azimuth: float, size_px: int) -> Raster:
    """Draw the sheet whose vertices land at `pixels` `[C, R, 2]`, seen from `azimuth` (radians around the axis)."""
    fine = detail(size_px)
    dense = cv2.resize(pixels, (ROWS * fine, COLUMNS * fine), interpolation=cv2.INTER_LINEAR)
    order = _drawing_order(azimuth, fine)
    drawn = dense[order].reshape(-1, 2)
    place = np.rint(np.clip(drawn, -1, size_px)).astype(np.int32) + 1
    side = size_px + 2
    latest = np.zeros(side * side, np.uint16 if len(drawn) < 2**16 - 1 else np.int32)
    latest[place[:, 1] * side + place[:, 0]] = np.arange(1, len(drawn) + 1, dtype=latest.dtype)
    shown = latest.reshape(side, side)
    shown[0] = shown[-1] = shown[:, 0] = shown[:, -1] = 0
    filled = _without_holes(shown, dense.shape[1])[1:-1, 1:-1]
    return _resolve(dense, order, filled, _inverse_jacobians(pixels))


@cache
def _dense_angles(fine: int) -> Reals:
    coarse = (np.arange(COLUMNS * fine) + 0.5) / fine - 0.5
    return np.interp(coarse, np.arange(COLUMNS), head_sheet().angles)


def _drawing_order(azimuth: float, fine: int) -> NDArray[np.int32]:
    """Dense columns that can be seen, furthest from the camera first."""
    turned = np.abs(_dense_angles(fine) - azimuth)
    order = np.argsort(-turned, kind="stable")
    return order[np.searchsorted(-turned[order], -_VISIBLE_ARC) :].astype(np.int32)


def _without_holes(shown: NDArray[np.generic], rows: int) -> Floats:
    """Fill the gaps between samples, and those through which a far surface shows.

    A later number is nearer, so a pixel far below what a closing makes of it lies in a gap of the nearer surface.
    """
    as_float = shown.astype(np.float32)
    closed = cv2.morphologyEx(as_float, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    gap = (as_float == 0) | (closed - as_float > _FAR_COLUMNS * rows)
    return np.where(gap, closed, as_float)


def _resolve(dense: Floats, order: NDArray[np.int32], shown: Floats, inverses: Floats) -> Raster:
    """Fractional (column, row) of each pixel's centre: its sample, moved by the inverse of the local Jacobian."""
    rows, size = dense.shape[1], shown.shape[0]
    fine = rows // ROWS
    grown = np.where(shown > 0, shown, cv2.dilate(shown, np.ones((3, 3), np.uint8)))
    at = np.flatnonzero(grown)
    place, row = np.divmod(grown.ravel()[at].astype(np.int32) - 1, np.int32(rows))
    column = order[place]
    pixel = np.stack(np.divmod(at, size)[::-1], 1).astype(np.float32)
    pixel -= dense.reshape(-1, 2)[column * rows + row]
    inverse = inverses.reshape(-1, 4)[(column // fine) * ROWS + row // fine]
    inverse[:, :2] *= pixel
    inverse[:, 2:] *= pixel
    limit = np.float32(_LONGEST_SHIFT / fine)
    maps = np.full((2, size * size), -1, np.float32)
    for plane, index, first in ((0, row, 2), (1, column, 0)):
        shift = np.clip(inverse[:, first] + inverse[:, first + 1], -limit, limit)
        maps[plane, at] = (index + np.float32(0.5)) / np.float32(fine) - np.float32(0.5) + shift
    row_map, column_map = maps.reshape(2, size, size)
    return Raster(covered=(shown > 0).astype(np.uint8) * 255, row=row_map, column=column_map)


def _inverse_jacobians(pixels: Floats) -> Floats:
    """`[C, R, 4]`: change of (column, row) with x and y, at each vertex: dc/dx, dc/dy, dr/dx, dr/dy; 0 where edge-on."""
    by_column = np.empty_like(pixels)
    by_column[1:-1] = (pixels[2:] - pixels[:-2]) / 2
    by_column[0], by_column[-1] = by_column[1], by_column[-2]
    by_row = np.empty_like(pixels)
    by_row[:, 1:-1] = (pixels[:, 2:] - pixels[:, :-2]) / 2
    by_row[:, 0], by_row[:, -1] = by_row[:, 1], by_row[:, -2]
    area = by_column[..., 0] * by_row[..., 1] - by_column[..., 1] * by_row[..., 0]
    inverse = 1 / np.where(np.abs(area) < 0.05, np.float32(np.inf), area)
    adjugate = np.stack([by_row[..., 1], -by_row[..., 0], -by_column[..., 1], by_column[..., 0]], -1)
    return np.asarray(adjugate * inverse[..., None])


def seen(raster: Raster, heights: Floats, landmarks: Reals, landmark_heights: Reals) -> NDArray[np.bool_]:
    """`[N]`: True where no surface lies well in front of a landmark.

    Args:
        raster: What each pixel shows.
        heights: `[C, R]`, of the vertices towards the camera.
        landmarks: `[N, 2]`, pixels.
        landmark_heights: `[N]`, of the landmarks.
    """
    size = raster.covered.shape[0]
    near = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2)
    around = np.rint(landmarks).astype(np.int64)[:, None] + near
    x, y = np.clip(around, 0, size - 1).reshape(-1, 2).T
    surface = bilinear(heights[..., None], raster.column[y, x].astype(np.float64), raster.row[y, x].astype(np.float64))
    in_front = surface.reshape(-1, 9) > landmark_heights[:, None] + _HIDDEN_MM
    in_front &= raster.covered[y, x].reshape(-1, 9) > 0
    return np.asarray(~in_front.all(1))
