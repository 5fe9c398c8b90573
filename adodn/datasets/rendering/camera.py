"""From vertices to pixels: pose, perspective, and which part of the head every pixel shows. No colours here.

The head is a sheet around a vertical axis, so drawing its columns from the one turned furthest away to the one that
faces the camera draws far before near, with no sorting by depth and no z-buffer. The neck comes before the rest, and
rows go upwards, so that nose and chin cover what lies below and behind them, unless the camera looks from below.
"""

import math
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
_SQUARE_3, _SQUARE_5 = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)
_MANY = 1e9
"""More than the samples of any head."""
_ALONG = np.arange(1024, dtype=np.float32)
"""More pixels than the side of any picture has."""
_ROOM = 4
"""Pixels that a closing by the larger square looks at."""


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
    cy, sy, cp, sp, cr, sr = (turn(angle) for angle in (yaw, pitch, roll) for turn in (math.cos, math.sin))
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
    window: tuple[slice, slice]
    """Lines and columns of the picture that hold the head, with some room around it."""


def detail(size_px: int) -> int:
    """Samples per column and row of the sheet that leave no holes at that size."""
    return max(3, round(3 * size_px / 160))


def rasterise(pixels: Floats, standpoint: Reals, size_px: int) -> Raster:
    """Draw the sheet whose vertices land at `pixels` `[2, C, R]`, seen from `standpoint` `[3]` in the head's space."""
    fine, side = detail(size_px), size_px + 2
    x, y, z = standpoint - [0.0, HEAD_CENTRE[1], AXIS_Z]
    visible, step = _visible_columns(float(np.arctan2(x, z)), fine), -1 if y < _FROM_BELOW * np.hypot(x, z) else 1
    size = (ROWS * fine, COLUMNS * fine)
    dense_x, dense_y = (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in pixels)
    places = _in_order(dense_x.take(visible, 0), dense_y.take(visible, 0), fine, step)
    across, down = np.rint(np.clip(places[:, 1:], -1, size_px))
    shown = np.zeros((side, side), np.float32)
    numbers = _numbers(COLUMNS * ROWS * fine * fine)[: len(across)]
    shown.ravel()[(down * side + across + (side + 1)).astype(np.intp)] = numbers
    shown[0] = shown[-1] = shown[:, 0] = shown[:, -1] = 0
    lines, columns = window = _window(shown[1:-1, 1:-1])
    framed = shown[lines.start : lines.stop + 2, columns.start : columns.stop + 2]
    filled = _without_holes(framed, FACE_ROWS * fine)[1:-1, 1:-1]
    sheet = _in_order(_samples(fine).row, _samples(fine).column[visible, None], fine, step)
    maps = _resolve(places, sheet, filled, _inverse_jacobians(pixels), window, fine)
    raster = Raster(
        covered=np.zeros((size_px, size_px), np.uint8),
        row=np.full((size_px, size_px), -1, np.float32),
        column=np.full((size_px, size_px), -1, np.float32),
        window=window,
    )
    raster.covered[window] = cv2.compare(filled, 0, cv2.CMP_GT)
    raster.row[window], raster.column[window] = maps
    return raster


def _window(shown: Floats) -> tuple[slice, slice]:
    """Lines and columns where anything is shown, and enough around them that filling holes is not cut short."""
    size = shown.shape[0]
    x, y, width, height = cv2.boundingRect((shown > 0).view(np.uint8))
    return (
        slice(max(0, y - _ROOM), min(size, y + height + _ROOM)),
        slice(max(0, x - _ROOM), min(size, x + width + _ROOM)),
    )


@cache
def _numbers(count: int) -> Floats:
    """1 … count; exact in float32 for any image that is allowed."""
    return np.arange(1, count + 1, dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Samples:
    """What does not change of the dense sheet."""

    column: Floats
    """`[C · D]`: as fractions of the columns of the sheet."""
    row: Floats
    """`[1, R · D]`."""
    angles: Reals
    """Of the dense columns, radians."""


@cache
def _samples(fine: int) -> _Samples:
    column, row = ((np.arange(count * fine) + 0.5) / fine - 0.5 for count in (COLUMNS, ROWS))
    return _Samples(
        column=column.astype(np.float32),
        row=row.astype(np.float32)[None],
        angles=np.interp(column, np.arange(COLUMNS), head_sheet().angles),
    )


def _visible_columns(azimuth: float, fine: int) -> NDArray[np.intp]:
    """Dense columns that can be seen, far ones first."""
    nearness = -np.abs(_samples(fine).angles - azimuth)
    columns = nearness.argsort(kind="stable")
    return columns[nearness[columns].searchsorted(-_VISIBLE_ARC) :]


def _in_order(first: Floats, second: Floats, fine: int, step: int) -> Floats:
    """`[2, 1 + N]`: -1, then two tables over visible columns and rows `[V, R · D]` in the order of drawing.

    The neck comes first, then head and face above it, their rows downwards or, where `step` is -1, upwards.
    """
    edge, count = FACE_ROWS * fine, max(len(first), len(second))
    middle = 1 + count * (ROWS * fine - edge)
    ordered = np.empty((2, 1 + count * ROWS * fine), np.float32)
    for line, table in zip(ordered, (first, second), strict=True):
        every = np.broadcast_to(table, (count, ROWS * fine))
        line[0] = -1
        line[1:middle].reshape(count, -1)[:] = every[:, edge:]
        line[middle:].reshape(count, -1)[:] = every[:, :edge][:, ::step]
    return ordered


def _without_holes(shown: Floats, rows: int) -> Floats:
    """Fill the gaps between samples, and those through which a far surface shows.

    A later number is nearer, so a pixel far below what a closing makes of it lies in a gap of the nearer surface.
    """
    deeper = cv2.morphologyEx(shown, cv2.MORPH_CLOSE, _SQUARE_3) - shown
    filled = shown + cv2.threshold(deeper, _FAR_COLUMNS * rows, 0, cv2.THRESH_TOZERO)[1]
    return _where_empty(filled, cv2.morphologyEx(filled, cv2.MORPH_CLOSE, _SQUARE_5))


def _where_empty(shown: Floats, other: Floats) -> Floats:
    """`other` where nothing is shown. Without branches: on the ragged edge of a head, `np.where` is much slower."""
    empty = cv2.threshold(shown, 0, _MANY, cv2.THRESH_BINARY_INV)[1]
    return np.asarray(np.maximum(shown, np.minimum(other, empty)))


def _resolve(
    places: Floats, sheet: Floats, shown: Floats, inverses: Floats, window: tuple[slice, slice], fine: int
) -> tuple[Floats, Floats]:
    """Fractional (row, column) of each pixel's centre: its sample, moved by the inverse of the local Jacobian."""
    sample = _where_empty(shown, cv2.dilate(shown, _SQUARE_3)).astype(np.intp)
    row, column = sheet.take(sample, 1)
    x, y = places.take(sample, 1)
    dx, dy = _ALONG[window[1]] - x, _ALONG[window[0], None] - y
    inverse = cv2.remap(inverses, row, column, cv2.INTER_NEAREST)  # 0 where nothing is shown
    limit = np.float32(_LONGEST_SHIFT / fine)
    row += np.clip(inverse[..., 2] * dx + inverse[..., 3] * dy, -limit, limit)
    column += np.clip(inverse[..., 0] * dx + inverse[..., 1] * dy, -limit, limit)
    return row, column


def _inverse_jacobians(pixels: Floats) -> Floats:
    """`[C, R, 4]`, at each vertex: ∂column/∂x, ∂column/∂y, ∂row/∂x, ∂row/∂y; 0 where the sheet is seen edge-on."""
    (xc, yc), (xr, yr) = differences(pixels)
    area = xc * yr - yc * xr
    area[np.abs(area) < 0.05] = np.inf
    inverse = np.float32(1) / area
    return np.asarray(cv2.merge([yr * inverse, -xr * inverse, -yc * inverse, xc * inverse]))


def differences(planes: Floats) -> tuple[Floats, Floats]:
    """Change of `planes` `[K, C, R]` from column to column and from row to row."""
    by_column, by_row, half = np.empty_like(planes), np.empty_like(planes), np.float32(0.5)
    np.subtract(planes[:, 2:], planes[:, :-2], out=by_column[:, 1:-1])
    by_column[:, 1:-1] *= half
    by_column[:, 0], by_column[:, -1] = planes[:, 1] - planes[:, 0], planes[:, -1] - planes[:, -2]
    np.subtract(planes[..., 2:], planes[..., :-2], out=by_row[..., 1:-1])
    by_row[..., 1:-1] *= half
    by_row[..., 0], by_row[..., -1] = planes[..., 1] - planes[..., 0], planes[..., -1] - planes[..., -2]
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
    around = np.clip(np.rint(landmarks).astype(np.intp)[:, None] + _NEIGHBOURS, 0, size - 1)
    at = around[..., 1] * size + around[..., 0]
    row = np.rint(np.clip(raster.row.take(at), 0, ROWS - 1))
    column = np.rint(np.clip(raster.column.take(at), 0, COLUMNS - 1))
    vertex = (column * ROWS + row).astype(np.intp)
    in_front = heights.take(vertex) > landmark_heights[:, None] + _HIDDEN_MM
    return np.asarray(~(in_front & (raster.covered.take(at) > 0)).all(1))
