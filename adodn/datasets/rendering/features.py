"""Where eyes, brows and lips lie on the mean face, for a person's proportions and a moment's lids and brows.

Plane geometry in millimetres of the mean face; neither the head's shape nor colours are known here.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.person import Moment, Person
from adodn.datasets.rendering.shape import STOMION_Y, mean_landmarks

Reals: TypeAlias = NDArray[np.float64]

# Per eye: outer corner, inner corner, upper lid (from the outer side), lower lid (from the outer side).
_EYES = np.array([(36, 39, 37, 38, 41, 40), (45, 42, 44, 43, 46, 47)])
_BROWS = np.array([(17, 18, 19, 20, 21), (26, 25, 24, 23, 22)])
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
    points[_EYES] = _placed_eyes(points[_EYES], person, moment)
    points[_BROWS, 1] -= np.array(moment.brow_raise)[:, None] + (person.brow_height + person.brow_arch * _BROW_ARCH)
    if moment.expression == "anger":
        points[_BROWS, 1] += _FROWN
    points[_UPPER_LIP, 1] = STOMION_Y + (points[_UPPER_LIP, 1] - STOMION_Y) * (0.4 + 0.6 * person.upper_lip)
    points[_LOWER_LIP, 1] += _LOWER_LIP_HEIGHT * (0.6 * (person.lower_lip - 1))
    return points


def _placed_eyes(eyes: Reals, person: Person, moment: Moment) -> Reals:
    """`[2, 6, 2]`, ordered as `_EYES`: each lid is moved from or to the line between its eye's corners."""
    centre = eyes.sum(1, keepdims=True) / 6
    eyes = centre + (eyes - centre) * [0.5 + 0.5 * person.eye_size, person.eye_size]
    eyes[:, 0, 1] -= person.eye_slant
    (x0, y0), (x1, y1) = eyes[:, 0].T[..., None], eyes[:, 1].T[..., None]
    line = y0 + (y1 - y0) * (eyes[:, 2:, 0] - x0) / (x1 - x0)
    shares = [(upper, upper, lower, lower) for upper, lower in map(_lid_shares, moment.lids)]
    eyes[:, 2:, 1] = line + (eyes[:, 2:, 1] - line) * shares
    return eyes


def _lid_shares(opening: float) -> tuple[float, float]:
    """How far from the line between the corners the upper and the lower lid lie, relative to an open eye."""
    return -0.25 + 1.25 * opening, 0.4 + 0.5 * min(opening, 1.0)


def face_curves(landmarks: Reals) -> FaceCurves:
    """The lines through `landmarks` `[68, 2]`, all in one multiplication."""
    points = _curve_weights() @ landmarks
    return FaceCurves(
        lids=points[:52].reshape(2, 2, 13, 2),
        brows=points[52:78].reshape(2, 13, 2),
        outer_lips=points[78:128].reshape(2, 25, 2),
        inner_lips=points[128:].reshape(2, 17, 2),
    )


@cache
def _curve_weights() -> Reals:
    """`[162, 68]`: weights of the landmarks in the points of all curves of `FaceCurves`."""
    every = np.eye(68)
    chains = [(chain, 4) for chain in _LIDS] + [(tuple(brow), 3) for brow in _BROWS] + [(chain, 4) for chain in _LIPS]
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
