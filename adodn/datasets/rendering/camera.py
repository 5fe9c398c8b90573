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

from adodn.datasets.rendering.shape import AXIS_Z, COLUMNS, FACE_ROWS, ROWS, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

HEAD_CENTRE = np.array([0.0, 30.0, -70.0])
_HIDDEN_MM = 7.0
"""A landmark this much behind the surface that covers it counts as hidden; less is the mesh's own coarseness."""
_NEIGHBOURS = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])
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
    return max(3, round(3 * size_px / 160))


def rasterise(pixels: Floats, standpoint: Reals, size_px: int) -> Raster:
    """Draw the sheet whose vertices land at `pixels` `[2, C, R]`, seen from `standpoint` `[3]` in the head's space."""
    fine = detail(size_px)
    size = (ROWS * fine, COLUMNS * fine)
    dense_x, dense_y = (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR).ravel() for plane in pixels)
    x, y, z = standpoint - [0.0, HEAD_CENTRE[1], AXIS_Z]
    drawn = _drawing_order(float(np.arctan2(x, z)), fine, upwards=bool(y < _FROM_BELOW * np.hypot(x, z)))
    side = size_px + 2
    columns = np.rint(np.clip(np.take(dense_x, drawn), -1, size_px))
    lines = np.rint(np.clip(np.take(dense_y, drawn), -1, size_px))
    latest = np.zeros(side * side, np.float32)
    latest[(lines * side + columns).astype(np.intp) + (side + 1)] = _numbers(COLUMNS * ROWS * fine * fine)[: len(drawn)]
    shown = latest.reshape(side, side)
    shown[0] = shown[-1] = shown[:, 0] = shown[:, -1] = 0
    filled = _without_holes(shown, FACE_ROWS * fine)[1:-1, 1:-1]
    return _resolve((dense_x, dense_y), drawn, np.ascontiguousarray(filled), _inverse_jacobians(pixels), fine)


@cache
def _numbers(count: int) -> Floats:
    """1 … count; exact in float32 for any image that is allowed."""
    return np.arange(1, count + 1, dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Samples:
    """Tables over the N samples of the dense sheet, column by column."""

    column: Floats
    """`[N]`: as a fraction of the sheet's columns."""
    row: Floats
    neck: NDArray[np.intp]
    """`[dense columns, dense rows of the neck]`: flat indices of the samples."""
    face: NDArray[np.intp]
    """The same of the rows above."""
    angles: Reals
    """Of the dense columns, radians."""


@cache
def _samples(fine: int) -> _Samples:
    column, row = np.divmod(np.arange(COLUMNS * ROWS * fine * fine), ROWS * fine)
    flat = np.arange(COLUMNS * ROWS * fine * fine, dtype=np.intp).reshape(COLUMNS * fine, -1)
    middle = (np.arange(COLUMNS * fine) + 0.5) / fine - 0.5
    return _Samples(
        column=((column + 0.5) / fine - 0.5).astype(np.float32),
        row=((row + 0.5) / fine - 0.5).astype(np.float32),
        neck=np.ascontiguousarray(flat[:, FACE_ROWS * fine :]),
        face=np.ascontiguousarray(flat[:, : FACE_ROWS * fine]),
        angles=np.interp(middle, np.arange(COLUMNS), head_sheet().angles),
    )


def _drawing_order(azimuth: float, fine: int, *, upwards: bool) -> NDArray[np.intp]:
    """Flat indices of the samples that can be seen, far ones first: the neck, then head and face above it."""
    samples = _samples(fine)
    turned = np.abs(samples.angles - azimuth)
    columns = np.argsort(-turned, kind="stable")
    columns = columns[np.searchsorted(-turned[columns], -_VISIBLE_ARC) :]
    face = np.take(samples.face, columns, axis=0)
    if upwards:
        face = face[:, ::-1]
    return np.concatenate([np.take(samples.neck, columns, axis=0).ravel(), face.ravel()])


def _without_holes(shown: Floats, rows: int) -> Floats:
    """Fill the gaps between samples, and those through which a far surface shows.

    A later number is nearer, so a pixel far below what a closing makes of it lies in a gap of the nearer surface.
    """
    closed = cv2.morphologyEx(shown, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    gap = closed - shown > _FAR_COLUMNS * rows
    filled = np.where(gap, closed, shown)
    wide = cv2.morphologyEx(filled, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return np.where(filled == 0, wide, filled)


def _resolve(
    dense: tuple[Floats, Floats], drawn: NDArray[np.intp], shown: Floats, inverses: Floats, fine: int
) -> Raster:
    """Fractional (column, row) of each pixel's centre: its sample, moved by the inverse of the local Jacobian."""
    size, samples = shown.shape[0], _samples(fine)
    covered = shown > 0
    grown = np.where(covered, shown, cv2.dilate(shown, np.ones((3, 3), np.uint8)))
    sample = np.take(drawn, grown.astype(np.intp) - 1)  # where nothing is drawn, any sample; masked below
    row, column = np.take(samples.row, sample), np.take(samples.column, sample)
    x = np.arange(size, dtype=np.float32)
    dx, dy = x - np.take(dense[0], sample), x[:, None] - np.take(dense[1], sample)
    cx, cy, rx, ry = cv2.split(cv2.remap(inverses, row, column, cv2.INTER_NEAREST))
    limit = np.float32(_LONGEST_SHIFT / fine)
    row += np.clip(rx * dx + ry * dy, -limit, limit)
    column += np.clip(cx * dx + cy * dy, -limit, limit)
    row[grown == 0] = column[grown == 0] = -1
    return Raster(covered=covered.view(np.uint8) * np.uint8(255), row=row, column=column)


def _inverse_jacobians(pixels: Floats) -> Floats:
    """`[C, R, 4]`, at each vertex: ∂column/∂x, ∂column/∂y, ∂row/∂x, ∂row/∂y; 0 where the sheet is seen edge-on."""
    (xc, xr), (yc, yr) = (differences(plane) for plane in pixels)
    area = xc * yr - yc * xr
    inverse = np.float32(1) / np.where(np.abs(area) < 0.05, np.float32(np.inf), area)
    return np.asarray(cv2.merge([yr * inverse, -xr * inverse, -yc * inverse, xc * inverse]))


def differences(plane: Floats) -> tuple[Floats, Floats]:
    """Change of `plane` `[C, R]` from column to column and from row to row."""
    by_column, by_row = np.empty_like(plane), np.empty_like(plane)
    by_column[1:-1] = (plane[2:] - plane[:-2]) * np.float32(0.5)
    by_column[0], by_column[-1] = plane[1] - plane[0], plane[-1] - plane[-2]
    by_row[:, 1:-1] = (plane[:, 2:] - plane[:, :-2]) * np.float32(0.5)
    by_row[:, 0], by_row[:, -1] = plane[:, 1] - plane[:, 0], plane[:, -1] - plane[:, -2]
    return by_column, by_row


def seen(
    raster: Raster, heights: NDArray[np.floating], landmarks: Reals, landmark_heights: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """`[N]`: True where no surface lies well in front of a landmark.

    Args:
        raster: What each pixel shows.
        heights: `[C, R]`, of the vertices towards the camera.
        landmarks: `[N, 2]`, pixels.
        landmark_heights: `[N]`, of the landmarks.
    """
    size = raster.covered.shape[0]
    around = np.clip(np.rint(landmarks)[:, None] + _NEIGHBOURS, 0, size - 1).astype(np.intp)
    at = around[..., 1] * size + around[..., 0]
    row, column = (np.rint(np.take(plane, at)).astype(np.intp) for plane in (raster.row, raster.column))
    vertex = np.clip(column, 0, COLUMNS - 1) * ROWS + np.clip(row, 0, ROWS - 1)
    in_front = np.take(heights, vertex) > landmark_heights[:, None] + _HIDDEN_MM
    return np.asarray(~(in_front & (np.take(raster.covered, at) > 0)).all(1))
