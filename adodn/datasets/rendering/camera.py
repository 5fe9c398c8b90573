"""From vertices to pixels: pose, perspective, and which part of the head every pixel shows. No colours here.

The head is a sheet around a vertical axis, so drawing its columns from the one turned furthest away to the one that
faces the camera draws far before near, with no sorting by depth and no z-buffer. The neck comes before the rest, and
rows go upwards, so that nose and chin cover what lies below and behind them, unless the camera looks from below.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.shape import AXIS_Z, COLUMNS, FACE_ROWS, ROWS, bilinear, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

HEAD_CENTRE = np.array([0.0, 30.0, -70.0])
_HIDDEN_MM = 7.0
"""A landmark this much behind the surface that covers it counts as hidden; less is the mesh's own coarseness."""
_VISIBLE_ARC = np.radians(108)
_FROM_BELOW = 0.14
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
    def standpoint(self) -> Reals:
        """`[3]`, where the lens is, in millimetres of the head."""
        return np.asarray(self.rotation.T @ [0.0, 0.0, self.distance] + HEAD_CENTRE)


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


def rasterise(pixels: Floats, standpoint: Reals, size_px: int) -> Raster:
    """Draw the sheet whose vertices land at `pixels` `[C, R, 2]`, seen from `standpoint` `[3]` in the head's space."""
    fine = detail(size_px)
    dense = cv2.resize(pixels, (ROWS * fine, COLUMNS * fine), interpolation=cv2.INTER_LINEAR)
    x, y, z = standpoint - [0.0, HEAD_CENTRE[1], AXIS_Z]
    drawn = _drawing_order(float(np.arctan2(x, z)), fine, upwards=bool(y < _FROM_BELOW * np.hypot(x, z)))
    place = np.rint(np.clip(dense.reshape(-1, 2)[drawn], -1, size_px)).astype(np.int32) + 1
    side = size_px + 2
    latest = np.zeros(side * side, np.int32)
    latest[place[:, 1] * side + place[:, 0]] = np.arange(1, len(drawn) + 1, dtype=np.int32)
    shown = latest.reshape(side, side)
    shown[0] = shown[-1] = shown[:, 0] = shown[:, -1] = 0
    filled = _without_holes(shown, FACE_ROWS * fine)[1:-1, 1:-1]
    return _resolve(dense.reshape(-1, 2), drawn, filled, _inverse_jacobians(pixels), fine)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Samples:
    """Tables over the N samples of the dense sheet, column by column."""

    column: Floats
    """`[N]`: as a fraction of the sheet's columns."""
    row: Floats
    vertex: NDArray[np.int32]
    """`[N]`: flat index of the vertex that a sample belongs to."""
    angles: Reals
    """Of the dense columns, radians."""


@cache
def _samples(fine: int) -> _Samples:
    column, row = np.divmod(np.arange(COLUMNS * ROWS * fine * fine), ROWS * fine)
    middle = (np.arange(COLUMNS * fine) + 0.5) / fine - 0.5
    return _Samples(
        column=((column + 0.5) / fine - 0.5).astype(np.float32),
        row=((row + 0.5) / fine - 0.5).astype(np.float32),
        vertex=(column // fine * ROWS + row // fine).astype(np.int32),
        angles=np.interp(middle, np.arange(COLUMNS), head_sheet().angles),
    )


def _drawing_order(azimuth: float, fine: int, *, upwards: bool) -> NDArray[np.int32]:
    """Flat indices of the samples that can be seen, far ones first: the neck, then head and face above it."""
    turned = np.abs(_samples(fine).angles - azimuth)
    columns = np.argsort(-turned, kind="stable")
    columns = columns[np.searchsorted(-turned[columns], -_VISIBLE_ARC) :]
    rows, split = ROWS * fine, FACE_ROWS * fine
    face = np.arange(split)[:: -1 if upwards else 1]
    starts = (columns * rows)[:, None]
    parts = [(starts + part).ravel() for part in (np.arange(split, rows), face)]
    return np.concatenate(parts).astype(np.int32)


def _without_holes(shown: NDArray[np.generic], rows: int) -> Floats:
    """Fill the gaps between samples, and those through which a far surface shows.

    A later number is nearer, so a pixel far below what a closing makes of it lies in a gap of the nearer surface.
    """
    as_float = shown.astype(np.float32)
    closed = cv2.morphologyEx(as_float, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    closed = np.where(closed > 0, closed, cv2.morphologyEx(as_float, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)))
    gap = (as_float == 0) | (closed - as_float > _FAR_COLUMNS * rows)
    return np.where(gap, closed, as_float)


def _resolve(dense: Floats, drawn: NDArray[np.int32], shown: Floats, inverses: Floats, fine: int) -> Raster:
    """Fractional (column, row) of each pixel's centre: its sample, moved by the inverse of the local Jacobian."""
    size, samples = shown.shape[0], _samples(fine)
    grown = np.where(shown > 0, shown, cv2.dilate(shown, np.ones((3, 3), np.uint8)))
    at = np.flatnonzero(grown)
    sample = drawn[grown.ravel()[at].astype(np.int32) - 1]
    pixel = np.stack([at % size, at // size], 1).astype(np.float32)
    pixel -= dense[sample]
    inverse = inverses.reshape(-1, 4)[samples.vertex[sample]]
    inverse[:, :2] *= pixel
    inverse[:, 2:] *= pixel
    limit = np.float32(_LONGEST_SHIFT / fine)
    maps = np.full((2, size * size), -1, np.float32)
    for plane, index, first in ((0, samples.row, 2), (1, samples.column, 0)):
        shift = inverse[:, first] + inverse[:, first + 1]
        maps[plane, at] = index[sample] + np.clip(shift, -limit, limit)
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
