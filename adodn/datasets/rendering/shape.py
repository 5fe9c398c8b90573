"""A head as a sheet of vertices around a vertical axis, with linear modes for people and expressions. No drawing here.

Millimetres: x to the image's right, y down, z towards the camera, origin between the eyes. A vertex is addressed by
(column, row): the column is an angle around the axis `AXIS_Z`, the row runs from the crown over the face, under the
jaw and down the neck. Rows between the lips lie on each other while the mouth is closed, so that there is something
to open. Landmarks and painted features live at fractional (column, row) and so stay on the skin. Arrays over the
sheet keep x, y and z in planes of their own, which is several times faster than side by side.

    sheet = head_sheet()
    vertices = sheet.vertices + np.tensordot(weights, sheet.modes, 1)     # weights in the order of MODE_NAMES
    sheet.locate(np.array([[0.0, 36.0]]))                                 # (x, y) of the mean face -> (column, row)
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.anatomy import JAW_EDGE, MEAN_LANDMARKS, SURFACE_POINTS
from adodn.datasets.rendering.compiled import compiled
from adodn.datasets.rendering.modes import MODES

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

AXIS_Z = -95.0
COLUMNS, FACE_ROWS, NECK_ROWS = 64, 42, 12
ROWS = FACE_ROWS + NECK_ROWS
CROWN_Y, STOMION_Y = -119.0, 68.6
MOUTH_HALF_WIDTH, MOUTH_ROOM = 23.5, 13.0
LAST_ANGLE = 165.0

_LATTICE_X = np.arange(-78.0, 79.0)
_LATTICE_Y = np.arange(-80.0, 128.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeadSheet:
    """The mean head and what can change it. C columns, R rows, M modes."""

    vertices: Floats
    """`[3, C, R]`, millimetres; mouth closed, eyes open, no expression."""
    modes: Floats
    """`[M, 3, C, R]`: shift of every vertex for a weight of 1, in the order of `MODE_NAMES`."""
    angles: Reals
    """`[C]`, radians: of each column around the axis; 0 is straight ahead, positive to the image's right."""
    lattice: Reals
    """`[2, Y, X]`: (column, row) at the points (x, y) of the mean face, one for each millimetre."""

    row_at: Reals
    """`[Y, C]`: row at each height of each column, one for each millimetre from `CROWN_Y` down."""

    def locate(self, points: Reals) -> Reals:
        """(column, row) `[N, 2]` of points (x, y) `[N, 2]` of the mean face; y counts the room of the open mouth."""
        return bilinear(self.lattice, points[:, 1] - _LATTICE_Y[0], points[:, 0] - _LATTICE_X[0]).T

    def rows_at(self, y: Reals) -> Reals:
        """`[C]`: row of each column at its height `y` `[C]` (with mouth room)."""
        return self._rows(np.arange(float(COLUMNS)), y)

    def locate_around(self, angle: Reals, y: Reals) -> Reals:
        """(column, row) `[N, 2]` at angles around the axis (radians) and heights `y` (with mouth room), `[N]` each."""
        column = np.interp(angle, self.angles, np.arange(COLUMNS))
        return np.stack([column, self._rows(column, y)], 1)

    def _rows(self, column: Reals, y: Reals) -> Reals:
        rows: Reals = bilinear(self.row_at[None], y - CROWN_Y, column)[0]
        return rows


def bilinear(table: NDArray[np.floating], first: Reals, second: Reals) -> Reals:
    """`[K, N]`: values of `table` `[K, A, B]` at fractional indices `first`, `second` `[N]`, held at the border."""
    values = np.empty((len(table), len(first)))
    _interpolate(table, first, second, values)
    return values


@compiled
def _interpolate(table: NDArray[np.floating], first: Reals, second: Reals, values: Reals) -> None:
    """Fill `values`."""
    planes, count, width = table.shape
    for n in range(len(first)):
        u, v = min(max(first[n], 0.0), count - 1.0), min(max(second[n], 0.0), width - 1.0)
        i, j = min(max(int(u), 0), count - 2), min(max(int(v), 0), width - 2)
        a, b = u - i, v - j
        for k in range(planes):
            low = table[k, i, j] * (1 - b) + table[k, i, j + 1] * b
            high = table[k, i + 1, j] * (1 - b) + table[k, i + 1, j + 1] * b
            values[k, n] = low * (1 - a) + high * a


def mouth_room(x: Reals) -> Reals:
    """Millimetres between the lips, at `x`, that rows are kept for."""
    return MOUTH_ROOM * np.clip(1 - (x / MOUTH_HALF_WIDTH) ** 2, 0, None)


def with_mouth_room(points: Reals) -> Reals:
    """Points (x, y) `[N, 2]` of the closed mean face, those below the mouth moved down to leave room for its inside."""
    below = points[:, 1] >= STOMION_Y
    return np.stack([points[:, 0], points[:, 1] + below * mouth_room(points[:, 0])], 1)


@cache
def head_sheet() -> HeadSheet:
    """The mean head; computed once in a process."""
    angles = _column_angles()
    radius_at = _fitted_radius()
    param_y, vertices = _mean_vertices(angles, radius_at)
    lattice = _invert(angles, param_y, vertices)
    heights = np.arange(CROWN_Y, 189)
    row_at = np.stack([np.interp(heights, column, np.arange(ROWS)) for column in param_y], 1)
    modes = np.stack([mode(vertices, _opening(param_y, vertices)) for mode in MODES.values()])
    return HeadSheet(
        vertices=np.ascontiguousarray(np.moveaxis(vertices, -1, 0), np.float32),
        modes=np.ascontiguousarray(np.moveaxis(modes, -1, 1), np.float32),
        angles=angles,
        lattice=np.ascontiguousarray(np.moveaxis(lattice, -1, 0)),
        row_at=row_at,
    )


@cache
def mean_landmarks() -> Reals:
    """`[68, 2]`: (x, y) of the landmarks on the mean face with mouth room; what `HeadSheet.locate` takes."""
    return with_mouth_room(MEAN_LANDMARKS[:, :2])


@cache
def jaw_places() -> Reals:
    """`[17, 2]`: (column, row) of the jaw landmarks, found by angle since x hardly changes along the side of a head."""
    angle, _ = _polar(MEAN_LANDMARKS[:17])
    return head_sheet().locate_around(angle, mean_landmarks()[:17, 1])


def _column_angles() -> Reals:
    """Columns lie closer to each other in front, where the features are."""
    s = np.linspace(-1, 1, COLUMNS)
    return np.asarray(np.radians(LAST_ANGLE) * (0.5 * s + 0.5 * s**3))


def _polar(points: Reals) -> tuple[Reals, Reals]:
    depth = points[:, 2] - AXIS_Z
    return np.arctan2(points[:, 0], depth), np.hypot(points[:, 0], depth)


def _thin_plate(squared: Reals) -> Reals:
    return np.asarray(squared * np.log(squared + 1e-9))


class _Radius:
    """Distance of the skin from the axis: a thin-plate spline over (angle, y) through the known points."""

    def __init__(self, points: Reals) -> None:
        angle, radius = _polar(points)
        turns = 2 * np.pi * np.array([-1, 0, 1])
        self._knots = np.concatenate([np.stack([90 * (angle + t), points[:, 1]], 1) for t in turns])
        self._knots /= 100
        values = np.tile(radius, 3)
        kernel = _thin_plate(((self._knots[:, None] - self._knots) ** 2).sum(-1)) + 2e-4 * np.eye(len(self._knots))
        border = np.concatenate([np.ones((len(values), 1)), self._knots], 1)
        system = np.block([[kernel, border], [border.T, np.zeros((3, 3))]])
        self._weights = np.linalg.solve(system, np.concatenate([values, np.zeros(3)]))

    def __call__(self, angle: Reals, y: Reals) -> Reals:
        at = np.stack([90 * angle.ravel(), y.ravel()], 1) / 100
        kernel = _thin_plate(((at[:, None] - self._knots) ** 2).sum(-1))
        full = np.concatenate([kernel, np.ones((len(at), 1)), at], 1)
        return np.asarray((full @ self._weights).reshape(angle.shape))


def _fitted_radius() -> _Radius:
    return _Radius(np.concatenate([MEAN_LANDMARKS, SURFACE_POINTS]))


def _mean_vertices(angles: Reals, radius_at: _Radius) -> tuple[Reals, Reals]:
    """Param y `[C, R]` (with mouth room) and vertices `[C, R, 3]`."""
    edge_y = np.interp(np.abs(np.degrees(angles)), JAW_EDGE[:, 0], JAW_EDGE[:, 1])
    closeness = _row_fractions()
    closed = CROWN_Y + (edge_y[:, None] - CROWN_Y) * closeness
    rough_x = np.sin(angles)[:, None] * radius_at(np.broadcast_to(angles[:, None], closed.shape), closed)
    room = mouth_room(np.where(np.abs(angles)[:, None] < 1.0, rough_x, 99.0))
    param = CROWN_Y + (edge_y[:, None] + room - CROWN_Y) * closeness
    y = np.where(param < STOMION_Y, param, np.maximum(param - room, STOMION_Y))
    radius = np.clip(radius_at(np.broadcast_to(angles[:, None], y.shape), y), 2, None)
    radius[:, 0] = 2.0
    face = np.stack([radius * np.sin(angles)[:, None], y, AXIS_Z + radius * np.cos(angles)[:, None]], -1)
    neck = _neck(angles, face[:, -1])
    neck_param = param[:, -1:] + (neck[..., 1] - face[:, -1:, 1])
    return np.concatenate([param, neck_param], 1), np.concatenate([face, neck], 1)


def _row_fractions() -> Reals:
    """Rows as fractions of the way from crown to jaw: denser on the face than on the skull."""
    return np.interp(np.linspace(0, 1, FACE_ROWS), [0, 0.27, 1.0], [0, 0.36, 1.0])


def _neck(angles: Reals, edge: Reals) -> Reals:
    """Rows under the jaw `edge` `[C, 3]`: back to the throat, then down."""
    front = np.cos(angles) * 0.5 + 0.5
    throat_y = 70 + 45 * front**2
    throat = np.stack([54 * np.sin(angles), throat_y, AXIS_Z - 14 + 54 * np.cos(angles)], -1)
    base = np.stack([62 * np.sin(angles), 150 + 22 * front, AXIS_Z - 20 + 60 * np.cos(angles)], -1)
    rows = []
    for s in (0.12, 0.45, 0.8, 1.0):
        row = edge * (1 - s) + throat * s
        row[:, 1] += 2 * np.sin(np.pi * s) * front
        rows.append(row)
    rows += [throat * (1 - s) + base * s for s in np.linspace(0, 1, NECK_ROWS - 3)[1:]]
    return np.stack(rows, 1)


def _opening(param_y: Reals, vertices: Reals) -> Reals:
    """How far along the opening mouth a vertex lies: 0 at the upper lip, 1 at the lower lip and below, `[C, R]`."""
    room = mouth_room(vertices[..., 0])
    return np.clip((param_y - STOMION_Y) / np.maximum(room, 2.0), 0, 1)


def _invert(angles: Reals, param_y: Reals, vertices: Reals) -> Reals:
    """For every lattice point of the front of the face, the (column, row) that lies there."""
    front = np.flatnonzero(np.abs(angles) < np.radians(89))
    by_y = np.array(
        [
            [np.interp(_LATTICE_Y, param_y[c], vertices[c, :, 0]), np.interp(_LATTICE_Y, param_y[c], np.arange(ROWS))]
            for c in front
        ]
    )
    lattice = np.empty((len(_LATTICE_Y), len(_LATTICE_X), 2))
    for i in range(len(_LATTICE_Y)):
        lattice[i, :, 0] = np.interp(_LATTICE_X, by_y[:, 0, i], front)
        lattice[i, :, 1] = np.interp(_LATTICE_X, by_y[:, 0, i], by_y[:, 1, i])
    return lattice
