"""Where eyes, brows and lips lie on the mean face, for a person's proportions and a moment's lids and brows.

Plane geometry in millimetres of the mean face; neither the head's shape nor colours are known here.
"""

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.person import Moment, Person
from adodn.datasets.rendering.shape import STOMION_Y, mean_landmarks

Reals: TypeAlias = NDArray[np.float64]

# Per eye: outer corner, inner corner, upper lid (from the outer side), lower lid (from the outer side).
EYES = ((36, 39, (37, 38), (41, 40)), (45, 42, (44, 43), (46, 47)))
BROWS = ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22))
_BROW_ARCH = np.array([-0.6, 0.6, 1.0, 0.4, 0.0])


def placed_landmarks(person: Person, moment: Moment) -> Reals:
    """`[68, 2]`: landmarks on the mean face, millimetres, with mouth room."""
    points = mean_landmarks().copy()
    for side in (0, 1):
        _place_eye(points, side, person, moment)
        _place_brow(points, side, person, moment)
    _place_lips(points, person)
    return points


def _place_eye(points: Reals, side: int, person: Person, moment: Moment) -> None:
    outer, inner, upper, lower = EYES[side]
    every = [outer, inner, *upper, *lower]
    centre = points[every].mean(0)
    points[every] = centre + (points[every] - centre) * [0.5 + 0.5 * person.eye_size, person.eye_size]
    points[outer, 1] -= person.eye_slant
    opening = moment.lids[side]
    for lid in upper:
        line = _corner_line(points, outer, inner, points[lid, 0])
        points[lid, 1] = line + (points[lid, 1] - line) * (-0.25 + 1.25 * opening)
    for lid in lower:
        line = _corner_line(points, outer, inner, points[lid, 0])
        points[lid, 1] = line + (points[lid, 1] - line) * (0.4 + 0.5 * min(opening, 1.0))


def _corner_line(points: Reals, outer: int, inner: int, x: float) -> float:
    """Height, at `x`, of the line between the corners of an eye."""
    (x0, y0), (x1, y1) = points[outer], points[inner]
    return float(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def _place_brow(points: Reals, side: int, person: Person, moment: Moment) -> None:
    brow = list(BROWS[side])
    lift = person.brow_height + moment.brow_raise[side]
    points[brow, 1] -= lift + person.brow_arch * _BROW_ARCH
    if moment.expression == "anger":
        points[brow[-2:], 1] += [1.5, 3.0]


def _place_lips(points: Reals, person: Person) -> None:
    """Thickness of each lip: outer points move away from the line where the lips meet."""
    upper, lower = [49, 50, 51, 52, 53], [55, 56, 57, 58, 59]
    inner_lower = np.array([69.0, 69.2, 69.4, 69.2, 69.0])
    points[upper, 1] = STOMION_Y + (points[upper, 1] - STOMION_Y) * (0.4 + 0.6 * person.upper_lip)
    neutral = np.array([75.0, 79.5, 80.5, 79.5, 75.0])
    points[lower, 1] += (neutral - inner_lower) * 0.6 * (person.lower_lip - 1)


def curve(points: Reals, per_piece: int = 4) -> Reals:
    """Open Catmull-Rom curve through `points` `[N, 2]`, `per_piece` segments between neighbours."""
    return np.asarray(_catmull_rom(len(points), per_piece) @ points)


@cache
def _catmull_rom(count: int, per_piece: int) -> Reals:
    """`[(N - 1) · per_piece + 1, N]`: weights of the points in each point of the curve."""
    steps = np.arange((count - 1) * per_piece + 1) / per_piece
    basis = np.zeros((len(steps), count))
    for line, s in enumerate(steps):
        i = min(int(s), count - 2)
        t = s - i
        weights = (
            -0.5 * t + t * t - 0.5 * t**3,
            1 - 2.5 * t * t + 1.5 * t**3,
            0.5 * t + 2 * t * t - 1.5 * t**3,
            -0.5 * t * t + 0.5 * t**3,
        )
        for k, weight in zip(range(i - 1, i + 3), weights, strict=True):
            basis[line, min(max(k, 0), count - 1)] += weight
    return basis
