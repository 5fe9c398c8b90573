"""Make-up: paints skin, eyes, brows, mouth and beard on the unrolled head. No light, no camera.

The texture is `[C · detail, R · detail, 3]`: a line of pixels runs from the crown down the neck, its lines run around
the head. Features are described in millimetres of the mean face and put in place by `HeadSheet.locate`.
"""

from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.features import FaceCurves, curve, face_curves
from adodn.datasets.rendering.person import Colour, Moment, Person, rgb
from adodn.datasets.rendering.shape import COLUMNS, ROWS, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Texture: TypeAlias = NDArray[np.uint8]

_SHIFT = 4
_NUM_MOTTLES = 6
_DOWN = np.array([0.0, 1.0])
_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)
_LID_ARCH = np.sin(np.linspace(0, np.pi, 13))[:, None] * _DOWN
"""For a lid's curve through four points: nothing at the corners, 1 mm down in the middle."""
_OVER_LID, _UNDER_LID = _DOWN + 5.5 * _LID_ARCH, 0.5 * _DOWN + 4.5 * _LID_ARCH


@dataclass(slots=True)
class Strokes:
    """Shapes in millimetres of the mean face, drawn together since placing many points costs as much as placing one."""

    _shapes: list[tuple[Reals, Colour, float]] = field(default_factory=list)

    def fill(self, outlines: Reals, colour: Colour) -> None:
        """Filled outlines `[..., N, 2]` that do not overlap."""
        self._shapes.append((outlines, colour, 0.0))

    def line(self, lines: Reals, colour: Colour, width: float = 1.0) -> None:
        """Open lines `[..., N, 2]`; `width` in pixels of a texture for 160-pixel images."""
        self._shapes.append((lines, colour, width))

    def draw(self, texture: Texture) -> None:
        """Draw all shapes in the order in which they were given."""
        every = np.concatenate([shape.reshape(-1, 2) for shape, _, _ in self._shapes])
        detail = texture.shape[1] / ROWS
        placed = to_texture(head_sheet().locate(every), detail)
        start = 0
        for shape, colour, width in self._shapes:
            stop = start + shape.size // 2
            parts = list(placed[start:stop].reshape(-1, *shape.shape[-2:]))
            start = stop
            if width:
                thick = max(1, round(width * detail / 4))
                cv2.polylines(texture, parts, False, colour.tolist(), thick, cv2.LINE_AA, _SHIFT)
            else:
                cv2.fillPoly(texture, parts, colour.tolist(), cv2.LINE_AA, _SHIFT)


def texture_detail(size_px: int) -> int:
    """Pixels of the texture per column and row of the sheet, for an image of that size."""
    return max(3, round(3 * size_px / 160))


def to_texture(places: Reals, detail: float) -> NDArray[np.int32]:
    """(column, row) `[N, 2]` of the sheet → fixed-point (x, y) of the texture, as OpenCV draws them."""
    pixels = (places[:, ::-1] + 0.5) * detail - 0.5
    return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def mix(first: Colour, second: Colour | tuple[float, float, float], share: float) -> Colour:
    """`first` with `share` of `second` in it."""
    return np.asarray(first + (np.asarray(second, np.float32) - first) * np.float32(share))


def soft_weight(covered: NDArray[np.uint8]) -> Texture:
    """`[H, W, 3]`: `covered` `[H, W]` with soft edges, for three channels."""
    return np.asarray(cv2.merge([cv2.GaussianBlur(covered, (3, 3), 0.7)] * 3))


def paint_face(person: Person, moment: Moment, landmarks: Reals, detail: int, rng: np.random.Generator) -> Texture:
    """The whole unrolled skin with its features.

    Args:
        person: Colours and proportions.
        moment: Lids, gaze and expression.
        landmarks: `[68, 2]`, from `placed_landmarks`.
        detail: Pixels per column and row of the sheet.
        rng: For single hairs.
    """
    texture = _skin(person, detail).copy()
    strokes, curves, paints = Strokes(), face_curves(landmarks), _paints(person)
    _folds(strokes, person, moment, curves)
    _eyes(strokes, person, moment, landmarks, curves, paints)
    _brows(strokes, person, curves, paints, rng)
    _mouth(strokes, moment, landmarks, curves, paints)
    if person.moustache > 0.35:
        _moustache(strokes, paints, rng)
    strokes.draw(texture)
    return texture


@cache
def _skin_maps(detail: int) -> list[Floats]:
    """For each of a few mottlings, `[6, C · D · R · D]`: one, mottles, fine grain, blush, beard, freckles."""
    sheet = head_sheet()
    size = (ROWS * detail, COLUMNS * detail)
    x, y, z = (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in sheet.vertices)
    front = np.clip((z + 95) / 40, 0, 1)

    def bump(cx: float, cy: float, w: float, h: float) -> Floats:
        return np.asarray(np.exp(-(((np.abs(x) - cx) / w) ** 2) - ((y - cy) / h) ** 2) * front, np.float32)

    blush = np.clip(bump(40, 28, 16, 14) + bump(0, 38, 12, 8) * 0.8 + bump(0, 105, 14, 8) * 0.3, 0, 1)
    whiskers = np.clip((y - 30 - 34 * np.clip((62 - np.abs(x)) / 24, 0, 1)) / 16, 0, 1)
    whiskers *= np.clip((135 - y) / 20, 0, 1) * np.clip((z + 112) / 12, 0, 1)
    lip_field = bump(0, 70, 27, 9)
    whiskers = np.clip(whiskers + bump(0, 56, 24, 6) * 0.9 - 1.2 * lip_field, 0, 1)
    maps = []
    for seed in range(_NUM_MOTTLES):
        rng = np.random.default_rng([77, seed])
        noise = rng.standard_normal((size[1], size[0])).astype(np.float32)
        mottles = cv2.GaussianBlur(noise, (0, 0), 2.2 * detail)
        grain = cv2.GaussianBlur(noise, (0, 0), 0.3 * detail)
        spots = cv2.GaussianBlur((rng.random(noise.shape) < 0.012).astype(np.float32), (0, 0), 0.17 * detail)
        freckles = np.clip(spots * 6, 0, 1) * np.clip(bump(32, 22, 26, 16) + bump(0, 20, 14, 16), 0, 1)
        hairs = whiskers * np.clip(0.75 + 0.45 * noise, 0, 1.2)
        planes = (np.ones_like(noise), mottles / mottles.std(), grain / grain.std(), blush, hairs, freckles)
        maps.append(np.stack(planes).reshape(len(planes), -1).astype(np.float32))
    return maps


@lru_cache(maxsize=8)
def _skin(person: Person, detail: int) -> Texture:
    """Skin, and the wings and nostrils of the nose; not to be written to."""
    skin, planes = person.skin, _skin_maps(detail)[person.hair_seed % _NUM_MOTTLES]
    colours = np.stack(
        [
            skin,
            skin * rgb(0.014, 0.022, 0.024),
            skin * np.float32(0.012 + 0.02 * person.age),
            skin * rgb(0.03, -0.075, -0.06) * np.float32(0.4 + 0.9 * person.blush),
            (person.hair * np.float32(0.8) - skin) * np.float32(0.85 * person.beard),
            (skin * rgb(0.72, 0.58, 0.48) - skin) * np.float32(min(1.0, person.freckles)),
        ]
    )
    channels = cv2.convertScaleAbs(np.ascontiguousarray(colours.T) @ planes)
    texture = cv2.merge(list(channels.reshape(3, COLUMNS * detail, ROWS * detail)))
    strokes = Strokes()
    _nose(strokes, person)
    strokes.draw(texture)
    return np.asarray(texture)


def tinted(image: Texture, factors: Floats) -> Texture:
    """`image` with its channels multiplied by `factors` `[3]`."""
    return np.asarray(cv2.transform(image, np.diag(factors)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Paints:
    """Colours of one person's features."""

    bag: Colour
    socket: Colour
    white: Colour
    lid: Colour
    lower_lid: Colour
    lid_fold: Colour
    lid_edge: Colour
    lashes: Colour
    brow: Colour
    brow_hairs: Colour
    lip: Colour
    lip_shine: Colour
    lip_seam: Colour
    moustache: Colour
    moustache_hairs: Colour


@lru_cache(maxsize=8)
def _paints(person: Person) -> _Paints:
    skin, hair = person.skin, person.hair
    lid = mix(skin, skin * rgb(0.86, 0.76, 0.74), 0.6)
    tone = hair * np.float32(0.75) if hair.mean() < 170 else hair * np.float32(0.6)
    red = mix(skin, skin * rgb(0.86, 0.5, 0.5) + rgb(14, 0, 6), 0.35 + 0.5 * person.lip_red)
    moustache = mix(skin, hair * np.float32(0.8), 0.55 + 0.4 * person.moustache)
    return _Paints(
        bag=mix(skin, skin * rgb(0.66, 0.58, 0.6), 0.15 + 0.25 * person.age),
        socket=mix(skin, skin * rgb(0.7, 0.6, 0.58), 0.4),
        white=mix(rgb(232, 226, 220), skin, 0.12),
        lid=lid,
        lower_lid=mix(skin, lid, 0.7),
        lid_fold=mix(skin, skin * np.float32(0.5), 0.6),
        lid_edge=mix(skin, skin * rgb(0.55, 0.42, 0.42), 0.55),
        lashes=mix(hair * np.float32(0.35), skin * np.float32(0.3), 0.35),
        brow=mix(skin, tone, 0.62),
        brow_hairs=mix(skin, tone, 0.9),
        lip=red,
        lip_shine=mix(red, (255, 235, 230), 0.16),
        lip_seam=mix(red * np.float32(0.35), (40, 12, 12), 0.5),
        moustache=moustache,
        moustache_hairs=mix(moustache, hair, 0.6),
    )


_SIDES = np.array([[[-1.0, 1.0]], [[1.0, 1.0]]])
"""`[2, 1, 2]`: what puts a shape of the image-right half on either half."""
_FOLD = curve(np.array([(20.0, 42), (27, 50), (31.5, 62), (31, 70)])) * _SIDES
_BAG = curve(np.array([(-3.0, 5), (0, 4.5), (0, 4.2), (1, 3.5)]))[None].repeat(2, 0)
_BAG[0] = curve(np.array([(3.0, 5), (0, 4.5), (0, 4.2), (-1, 3.5)]))
_WRINKLES = np.stack([curve(np.array([(-30, y + 2), (-12, y), (8, y + 0.7), (30, y + 2)])) for y in (-40.0, -47, -54)])
_NOSE_BASE = curve(np.array([(-13.5, 44.2), (-7, 47.2), (0, 48.6), (7, 47.2), (13.5, 44.2)]))
_NOSE_WINGS = curve(np.array([(14.5, 33.0), (18, 37), (18, 42), (14, 44.5)])) * _SIDES
_NOSTRILS = (np.array([7.4, 44.5]) + _CIRCLE * np.array([3.0, 1.4])) * _SIDES


def _folds(strokes: Strokes, person: Person, moment: Moment, curves: FaceCurves) -> None:
    """Lines of age and expression beside the nose, under the eyes and on the forehead."""
    depth = 0.05 + 0.16 * person.age + 0.12 * max(0.0, float(moment.weights[1]))
    strokes.line(_FOLD, mix(person.skin, person.skin * np.float32(0.55), depth), 1.6)
    strokes.line(curves.lids[1] + _BAG, _paints(person).bag, 1.6)
    if person.age > 0.45:
        lift = sum(moment.brow_raise) / 2
        share = 0.25 * person.age + 0.03 * max(0.0, lift)
        strokes.line(_WRINKLES, mix(person.skin, person.skin * np.float32(0.6), share), 1.0)


def _nose(strokes: Strokes, person: Person) -> None:
    """Wings and nostrils."""
    strokes.line(_NOSE_BASE, mix(person.skin, person.skin * rgb(0.62, 0.5, 0.46), 0.5), 1.4)
    strokes.line(_NOSE_WINGS, mix(person.skin, person.skin * rgb(0.6, 0.5, 0.48), 0.55), 1.2)
    strokes.fill(_NOSTRILS, person.skin * rgb(0.36, 0.26, 0.25))


def _eyes(
    strokes: Strokes, person: Person, moment: Moment, landmarks: Reals, curves: FaceCurves, paints: _Paints
) -> None:
    """White, iris and pupil, then the lids over them, then lashes."""
    top, bottom = curves.lids
    back = bottom[:, ::-1]
    fold = top - person.crease * _DOWN - 3.2 * _LID_ARCH
    strokes.fill(np.concatenate([fold, back + 1.2 * _DOWN], 1), paints.socket)
    strokes.fill(np.concatenate([top, back], 1), paints.white)
    gaze = np.array([moment.gaze[0], moment.gaze[1] - 0.6])
    centres = [landmarks[[36, 39]], landmarks[[45, 42]]]
    middles = [ends.sum(0) / 2 + gaze for ends, lid in zip(centres, moment.lids, strict=True) if lid > 0.2]
    if middles:
        _irises(strokes, np.array(middles)[:, None], person)
    strokes.fill(np.concatenate([top, (top - _OVER_LID)[:, ::-1]], 1), paints.lid)
    strokes.fill(np.concatenate([bottom, (bottom + _UNDER_LID)[:, ::-1]], 1), paints.lower_lid)
    if person.crease > 1.2:
        strokes.line(fold, paints.lid_fold)
    strokes.line(bottom, paints.lid_edge)
    strokes.line(top, paints.lashes, 1.4)


def _irises(strokes: Strokes, centres: Reals, person: Person) -> None:
    strokes.fill(centres + 5.7 * _CIRCLE, person.iris * np.float32(0.55))
    strokes.fill(centres + 4.9 * _CIRCLE, person.iris)
    strokes.fill(centres + 2.2 * _CIRCLE, rgb(10, 8, 8))
    strokes.fill(centres - 1.7 + 0.9 * _CIRCLE[::2], rgb(235, 235, 240))


_BROW_STEPS = 13
_ALONG_BROW = np.linspace(0, 1, _BROW_STEPS)
_BROW_HALF = (0.9 + 2.2 * np.sqrt(_ALONG_BROW) - 0.6 * _ALONG_BROW**4)[:, None] * _DOWN
_BROW_LEAN = np.array([[-1.0], [1.0]])


def _brows(strokes: Strokes, person: Person, curves: FaceCurves, paints: _Paints, rng: np.random.Generator) -> None:
    """Soft bands with hairs on them, their middle lines through the landmarks."""
    up = person.brow_width * _BROW_HALF
    strokes.fill(np.concatenate([curves.brows - up, (curves.brows + up)[:, ::-1]], 1), paints.brow)
    where, lean, offset = rng.random((2, 3, 12)).swapaxes(0, 1)
    index = (where * (_BROW_STEPS - 1)).astype(np.intp)
    width = up[index, 1]
    hairs = np.empty((2, 12, 2, 2))
    root, tip = hairs[:, :, 0], hairs[:, :, 1]
    root[:] = np.take_along_axis(curves.brows, index[..., None], 1)
    root[..., 1] += width * (0.9 - 1.2 * offset)
    tip[..., 0] = root[..., 0] + _BROW_LEAN * (1.5 + 3 * lean)
    tip[..., 1] = root[..., 1] - width * (0.2 + 0.7 * _ALONG_BROW[index])
    strokes.line(hairs, paints.brow_hairs)


def _mouth(strokes: Strokes, moment: Moment, landmarks: Reals, curves: FaceCurves, paints: _Paints) -> None:
    """Inside of the mouth, teeth and tongue where it is open, then the lips."""
    (upper_out, lower_out), (upper_in, lower_in) = curves.outer_lips, curves.inner_lips
    opening = float(moment.weights[0])
    strokes.fill(curves.inner_lips.reshape(-1, 2), rgb(52, 20, 20))
    if opening > 2:
        _teeth(strokes, upper_in, lower_in, opening)
    strokes.fill(np.concatenate([upper_out, upper_in[::-1]]), paints.lip * np.float32(0.86))
    strokes.fill(np.concatenate([lower_out, lower_in[::-1]]), paints.lip)
    middle = (lower_out[::-1] + _AS_OUTER_LIP @ lower_in[::-1]) / 2
    shine = middle[8:-8]
    strokes.fill(np.concatenate([shine - 0.7 * _DOWN, (shine + 0.7 * _DOWN)[::-1]]), paints.lip_shine)
    strokes.line(upper_in, paints.lip_seam, 1.0)
    strokes.line(landmarks[_MOUTH_CORNERS], paints.lip_seam, 1.2)


_MOUTH_CORNERS = np.array([(48, 60), (54, 64)])
_AS_OUTER_LIP = np.stack([np.interp(np.linspace(0, 16, 25), np.arange(17), unit) for unit in np.eye(17)], 1)
"""`[25, 17]`: spreads the points of an inner lip's curve evenly over as many as an outer lip's has."""


def _teeth(strokes: Strokes, upper: Reals, lower: Reals, opening: float) -> None:
    """Rows of the sheet between the lips are stretched by `opening`; teeth keep their length."""
    length = min(6.5 / opening, 0.8) * (lower[::-1] - upper)[:, 1:]
    edge = upper + np.concatenate([np.zeros_like(length), length], 1)
    strokes.fill(np.concatenate([upper[1:-1], edge[1:-1][::-1]]), rgb(226, 218, 204))
    if opening > 7:
        bed = lower[::-1] * 0.35 + upper * 0.65
        strokes.fill(np.concatenate([bed[4:-4] + np.array([0, 3.0]), lower[4:-4]]), rgb(150, 74, 74))


_MOUSTACHE = np.array(
    [(-25, 66), (-16, 55), (-5, 51.5), (0, 53), (5, 51.5), (16, 55), (25, 66), (13, 61), (0, 58.5), (-13, 61.0)]
)


def _moustache(strokes: Strokes, paints: _Paints, rng: np.random.Generator) -> None:
    strokes.fill(_MOUSTACHE, paints.moustache)
    x, y = rng.uniform(-1, 1, (12, 2)).T
    root = np.stack([21 * x, 57 + 3 * y + 6 * x * x], 1)
    tip = np.stack([22 * x + 3 * np.sign(x), 61 + 3 * y + 6 * x * x], 1)
    strokes.line(np.stack([root, tip], 1), paints.moustache_hairs)
