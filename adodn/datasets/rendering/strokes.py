"""The shapes that a face is painted with: every point is a weighted sum of landmarks and of a few more numbers.

Plane geometry in millimetres of the mean face; colours are in `paint.py`. The weights are the same for every face, so
that one multiplication gives all points of all shapes:

    points = strokes().points(landmarks, person, moment)
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.brush import Shapes, shapes
from adodn.datasets.rendering.compiled import compiled
from adodn.datasets.rendering.features import curve, face_curves
from adodn.datasets.rendering.person import Moment, Person

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

SIDES, IRIS = ("left", "right"), ("iris_edge", "iris", "pupil", "glint")
BROW_HAIRS = tuple(f"brow_hairs_{number}" for number in range(8))
"""Names of paints that are given for each part on its own."""
_NUM_INPUTS, _MOST_INPUTS = 68 + 5 + 8, 10
_LANDMARKS, _MORE, _TEETH = np.split(np.eye(_NUM_INPUTS), [68, 73])
_X, _Y, _CREASE, _BROW, _GAZE = _MORE
"""What a point is a sum of: landmarks; 1 mm to the right and down; crease and width of the brow, down; the gaze; and
the inner lips' landmarks times the share of the open mouth that teeth fill, down."""

_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)
_ARCH = np.sin(np.linspace(0, np.pi, 13))[:, None] * _Y
"""For a lid's curve: nothing at the corners, 1 mm down in the middle."""
_SIDES = np.array([[[-1.0, 1.0]], [[1.0, 1.0]]])
"""`[2, 1, 2]`: what puts a shape of the image-right half on either half."""
_FOLD = curve(np.array([(20.0, 42), (27, 50), (31.5, 62), (31, 70)])) * _SIDES
_BAG = curve(np.array([(-3.0, 5), (0, 4.5), (0, 4.2), (1, 3.5)])) * _SIDES
_WRINKLES = np.stack([curve(np.array([(-30, y + 2), (-12, y), (8, y + 0.7), (30, y + 2)])) for y in (-40.0, -47, -54)])
_NOSE_BASE = curve(np.array([(-13.5, 44.2), (-7, 47.2), (0, 48.6), (7, 47.2), (13.5, 44.2)]))
_NOSE_WINGS = curve(np.array([(14.5, 33.0), (18, 37), (18, 42), (14, 44.5)])) * _SIDES
_NOSTRILS = (np.array([7.4, 44.5]) + _CIRCLE * np.array([3.0, 1.4])) * _SIDES
_MOUSTACHE = np.array(
    [(-25, 66), (-16, 55), (-5, 51.5), (0, 53), (5, 51.5), (16, 55), (25, 66), (13, 61), (0, 58.5), (-13, 61.0)]
)


class _Stroke(NamedTuple):
    """One or more shapes of one paint."""

    paint: str
    weights: Reals
    """`[..., N, I]`: of the inputs in each point."""
    width: float = 0.0
    """Pixels of a texture for 160-pixel images; 0 is a filled outline."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Strokes:
    """All shapes of a face, in the order in which they are painted."""

    inputs: NDArray[np.uint8]
    """`[N, 10]`: which inputs each point is a sum of."""
    weights: Floats
    """`[N, 10]`: how much of each."""
    shapes: Shapes
    """Widths as `_Stroke` has them."""
    row: dict[str, int]
    """Numbers of the paints, in order."""
    paint_of: NDArray[np.int64]
    """`[K]`: number of each shape's paint."""

    def points(self, landmarks: Reals, person: Person, moment: Moment) -> Reals:
        """`[N, 2]`, millimetres of the mean face, for `landmarks` `[68, 2]` from `placed_landmarks`."""
        inputs = np.zeros((_NUM_INPUTS, 2), np.float32)
        inputs[:68] = landmarks
        x, y = moment.gaze
        inputs[68:73] = (1, 0), (0, 1), (0, person.crease), (0, person.brow_width), (x, y - 0.6)
        inputs[73:, 1] = min(6.5 / max(float(moment.weights[0]), 1.0), 0.8) * landmarks[60:, 1]
        return _sums(inputs, self.inputs, self.weights)


@compiled
def _sums(values: Floats, which: NDArray[np.uint8], weights: Floats) -> Reals:
    """`[N, 2]`: sums of a few of `values` `[I, 2]`."""
    sums = np.zeros((len(which), 2))
    for n in range(len(which)):
        for k in range(which.shape[1]):
            sums[n, 0] += weights[n, k] * values[which[n, k], 0]
            sums[n, 1] += weights[n, k] * values[which[n, k], 1]
    return sums


@cache
def strokes() -> Strokes:
    """Worked out once in a process."""
    every = [*_nose(), *_folds(), *_eyes(), *_brows(), *_mouth(), *_moustache()]
    row = {paint: number for number, paint in enumerate(dict.fromkeys(stroke.paint for stroke in every))}
    parts = [(stroke, part) for stroke in every for part in stroke.weights.reshape(-1, *stroke.weights.shape[-2:])]
    weights = np.concatenate([part for _, part in parts])
    inputs = np.argsort(weights == 0, 1, stable=True)[:, :_MOST_INPUTS]
    return Strokes(
        inputs=inputs.astype(np.uint8),
        weights=np.take_along_axis(weights, inputs, 1).astype(np.float32),
        shapes=shapes([len(part) for _, part in parts], [stroke.width for stroke, _ in parts]),
        row=row,
        paint_of=np.array([row[stroke.paint] for stroke, _ in parts]),
    )


def _fixed(points: Reals) -> Reals:
    """Weights of points `[..., 2]` that are the same on every face."""
    return np.asarray(points @ np.stack([_X, _Y]))


def _between(there: Reals, back: Reals) -> Reals:
    """Outline between two lines `[..., N, I]` that run the same way."""
    return np.concatenate([there, back[..., ::-1, :]], -2)


def _nose() -> list[_Stroke]:
    """Wings and nostrils."""
    return [
        _Stroke("nose_base", _fixed(_NOSE_BASE), 1.4),
        _Stroke("nose_wings", _fixed(_NOSE_WINGS), 1.2),
        _Stroke("nostrils", _fixed(_NOSTRILS)),
    ]


def _folds() -> list[_Stroke]:
    """Lines of age and expression beside the nose, under the eyes and on the forehead."""
    lower_lids = face_curves(_LANDMARKS).lids[1]
    return [
        _Stroke("fold", _fixed(_FOLD), 1.6),
        _Stroke("bag", lower_lids + _fixed(_BAG), 1.6),
        _Stroke("wrinkles", _fixed(_WRINKLES), 1.0),
    ]


def _eyes() -> list[_Stroke]:
    """White, iris and pupil, then the lids over them, then lashes."""
    top, bottom = face_curves(_LANDMARKS).lids
    fold = top - _CREASE - 3.2 * _ARCH
    return [
        _Stroke("socket", _between(fold, bottom + 1.2 * _Y)),
        _Stroke("white", _between(top, bottom)),
        *_iris(SIDES[0], _LANDMARKS[[36, 39]].mean(0) + _GAZE),
        *_iris(SIDES[1], _LANDMARKS[[45, 42]].mean(0) + _GAZE),
        _Stroke("lid", _between(top, top - _Y - 5.5 * _ARCH)),
        _Stroke("lower_lid", _between(bottom, bottom + 0.5 * _Y + 4.5 * _ARCH)),
        _Stroke("lid_fold", fold, 1.0),
        _Stroke("lid_edge", bottom, 1.0),
        _Stroke("lashes", top, 1.4),
    ]


def _iris(side: str, centre: Reals) -> list[_Stroke]:
    outlines = 5.7 * _CIRCLE, 4.9 * _CIRCLE, 2.2 * _CIRCLE, 0.9 * _CIRCLE[::2] - 1.7
    return [_Stroke(f"{side}_{part}", centre + _fixed(outline)) for part, outline in zip(IRIS, outlines, strict=True)]


def _brows() -> list[_Stroke]:
    """Soft bands with hairs on them, their middle lines through the landmarks."""
    brows, along = face_curves(_LANDMARKS).brows, np.linspace(0, 1, 13)
    up = (0.9 + 2.2 * np.sqrt(along) - 0.6 * along**4)[:, None] * _BROW
    hairs = [_Stroke(name, _brow_hairs(brows, up, number), 1.0) for number, name in enumerate(BROW_HAIRS)]
    return [_Stroke("brow", _between(brows - up, brows + up)), *hairs]


def _brow_hairs(brows: Reals, up: Reals, number: int) -> Reals:
    """`[2 brows, 3 hairs, 2, I]`."""
    rng = np.random.default_rng([81, number])
    index, offset = rng.integers(0, 12, 3), rng.random((3, 1))
    root = brows[:, index] + up[index] * (0.9 - 1.2 * offset)
    rise = up[index] * (0.2 + 0.7 * index[:, None] / 12)
    lean = np.array([[[-1.0]], [[1.0]]]) * rng.uniform(1.5, 4.5, (3, 1)) * _X
    return np.stack([root, root + lean - rise], 2)


def _mouth() -> list[_Stroke]:
    """Inside of the mouth, teeth and tongue where it is open, then the lips."""
    curves = face_curves(_LANDMARKS)
    (upper_out, lower_out), (upper, lower) = curves.outer_lips, curves.inner_lips
    lower = lower[::-1]  # from the image's left, as the upper one
    teeth_upper, teeth_lower = face_curves(np.concatenate([np.zeros((60, _NUM_INPUTS)), _TEETH])).inner_lips
    edge = upper + teeth_lower[::-1] - teeth_upper
    bed = 0.35 * lower + 0.65 * upper + 3.0 * _Y
    middle = (lower_out[::-1] + _AS_OUTER_LIP @ lower) / 2
    shine = middle[8:-8]
    return [
        _Stroke("mouth", _between(upper, lower)),
        _Stroke("teeth", _between(upper[1:-1], edge[1:-1])),
        _Stroke("tongue", _between(bed[4:-4], lower[4:-4])),
        _Stroke("upper_lip", _between(upper_out, upper)),
        _Stroke("lower_lip", _between(lower_out[::-1], lower)),
        _Stroke("lip_shine", _between(shine - 0.7 * _Y, shine + 0.7 * _Y)),
        _Stroke("lip_seam", upper, 1.0),
        _Stroke("lip_seam", _LANDMARKS[[(48, 60), (54, 64)]], 1.2),
    ]


_AS_OUTER_LIP = np.stack([np.interp(np.linspace(0, 16, 25), np.arange(17), unit) for unit in np.eye(17)], 1)
"""`[25, 17]`: spreads the points of an inner lip's curve evenly over as many as an outer lip's has."""


def _moustache() -> list[_Stroke]:
    x, y = np.random.default_rng(82).uniform(-1, 1, (2, 12))
    root = np.stack([21 * x, 57 + 3 * y + 6 * x * x], 1)
    tip = np.stack([22 * x + 3 * np.sign(x), 61 + 3 * y + 6 * x * x], 1)
    return [
        _Stroke("moustache", _fixed(_MOUSTACHE)),
        _Stroke("moustache_hairs", _fixed(np.stack([root, tip], 1)), 1.0),
    ]
