"""Where eyes, brows and lips lie on the mean face, for a person's proportions and a moment's lids and brows.

Plane geometry in millimetres of the mean face; neither the head's shape nor colours are known here.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.compiled import compiled
from adodn.datasets.rendering.person import Moment, Person
from adodn.datasets.rendering.shape import STOMION_Y, mean_landmarks

Reals: TypeAlias = NDArray[np.float64]

_BROWS = ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22))
_BROW_ARCH = np.array([-0.6, 0.6, 1.0, 0.4, 0.0])
_FROWN = np.array([0.0, 0.0, 0.0, 1.5, 3.0])
_UPPER_LIP, _LOWER_LIP = slice(49, 54), slice(55, 60)
_LOWER_LIP_HEIGHT = np.array([6.0, 10.3, 11.1, 10.3, 6.0])
_LIDS = ((36, 37, 38, 39), (45, 44, 43, 42), (36, 41, 40, 39), (45, 46, 47, 42))
_LIPS = ((48, 49, 50, 51, 52, 53, 54), (54, 55, 56, 57, 58, 59, 48), (60, 61, 62, 63, 64), (64, 65, 66, 67, 60))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FaceCurves:
    """Smooth lines through the landmarks; of two, the image-left one comes first. Millimetres of the mean face."""

    lids: Reals
    """`[upper and lower, 2 eyes, 13, 2]`, from the outer corner to the inner one."""
    brows: Reals
    """`[2, 13, 2]`, from the outer end to the inner one."""
    outer_lips: Reals
    """`[upper and lower, 25, 2]`, once around the mouth from its image-left corner."""
    inner_lips: Reals
    """`[upper and lower, 17, 2]`, likewise."""


def placed_landmarks(person: Person, moment: Moment) -> Reals:
    """`[68, 2]`: landmarks on the mean face, millimetres, with mouth room."""
    points = mean_landmarks().copy()
    _move_eyes(points, person.eye_size, person.eye_slant, *moment.lids)
    frown = 1.0 if moment.expression == "anger" else 0.0
    brow = person.brow_height + person.brow_arch * _BROW_ARCH - frown * _FROWN
    points[17:22, 1] -= brow + moment.brow_raise[0]
    points[26:21:-1, 1] -= brow + moment.brow_raise[1]
    points[_UPPER_LIP, 1] = STOMION_Y + (points[_UPPER_LIP, 1] - STOMION_Y) * (0.4 + 0.6 * person.upper_lip)
    points[_LOWER_LIP, 1] += _LOWER_LIP_HEIGHT * (0.6 * (person.lower_lip - 1))
    return points


@compiled
def _move_eyes(points: Reals, size: float, slant: float, left_lid: float, right_lid: float) -> None:
    """Scale the eyes, and move each lid from or to the line between its eye's corners, in `points` `[68, 2]`."""
    for side in range(2):
        eye = points[36 + 6 * side : 42 + 6 * side]
        opening = right_lid if side else left_lid
        x, y = eye[:, 0].sum() / 6, eye[:, 1].sum() / 6
        for n in range(6):
            eye[n, 0] = x + (eye[n, 0] - x) * (0.5 + 0.5 * size)
            eye[n, 1] = y + (eye[n, 1] - y) * size
        eye[3 * side, 1] -= slant
        slope = (eye[3, 1] - eye[0, 1]) / (eye[3, 0] - eye[0, 0])
        for n in (1, 2, 4, 5):
            line = eye[0, 1] + (eye[n, 0] - eye[0, 0]) * slope
            share = -0.25 + 1.25 * opening if n < 3 else 0.4 + 0.5 * min(opening, 1.0)
            eye[n, 1] = line + (eye[n, 1] - line) * share


def face_curves(landmarks: Reals) -> FaceCurves:
    """The lines through `landmarks` `[68, 2]`, or their weights if weights of landmarks `[68, I]` are given."""
    points = _curve_weights() @ landmarks
    return FaceCurves(
        lids=points[:52].reshape(2, 2, 13, -1),
        brows=points[52:78].reshape(2, 13, -1),
        outer_lips=points[78:128].reshape(2, 25, -1),
        inner_lips=points[128:].reshape(2, 17, -1),
    )


@cache
def _curve_weights() -> Reals:
    """`[162, 68]`: weights of the landmarks in the points of all curves of `FaceCurves`."""
    every = np.eye(68)
    chains = [(chain, 4) for chain in _LIDS] + [(brow, 3) for brow in _BROWS] + [(chain, 4) for chain in _LIPS]
    return np.concatenate([curve(every[list(chain)], per_piece) for chain, per_piece in chains])


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
