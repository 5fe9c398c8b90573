"""Make-up: paints skin, eyes, brows, mouth and beard on the unrolled head. No light, no camera.

The texture is `[C · detail, R · detail, 3]`: a line of pixels runs from the crown down the neck, its lines run around
the head. Features are described in millimetres of the mean face and put in place by `HeadSheet.locate`.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.features import BROWS, EYES, curve
from adodn.datasets.rendering.person import Colour, Moment, Person, rgb
from adodn.datasets.rendering.shape import COLUMNS, ROWS, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Texture: TypeAlias = NDArray[np.uint8]

_SHIFT = 4
_NUM_MOTTLES = 6
_RAMP = np.arange(256, dtype=np.float32)[:, None, None]
_DOWN = np.array([0.0, 1.0])
_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)
_LID_ARCH = np.sin(np.linspace(0, np.pi, 13))[:, None] * _DOWN
"""For a lid's curve through four points: nothing at the corners, 1 mm down in the middle."""


@dataclass(slots=True)
class Strokes:
    """Shapes in millimetres of the mean face, drawn together since placing many points costs as much as placing one."""

    _shapes: list[tuple[list[Reals], Colour, float]] = field(default_factory=list)

    def fill(self, outline: Reals, colour: Colour) -> None:
        """A filled outline `[N, 2]`."""
        self._shapes.append(([outline], colour, 0.0))

    def line(self, points: Reals, colour: Colour, width: float = 1.0) -> None:
        """An open line `[N, 2]`; `width` in pixels of a texture for 160-pixel images."""
        self._shapes.append(([points], colour, width))

    def hairs(self, lines: list[Reals], colour: Colour, width: float = 1.0) -> None:
        """Many open lines of one colour."""
        self._shapes.append((lines, colour, width))

    def draw(self, texture: Texture) -> None:
        """Draw all shapes in the order in which they were given."""
        every = np.concatenate([line for lines, _, _ in self._shapes for line in lines])
        detail = texture.shape[1] / ROWS
        placed = to_texture(head_sheet().locate(every), detail)
        start = 0
        for lines, colour, width in self._shapes:
            parts = []
            for line in lines:
                parts.append(placed[start : start + len(line)])
                start += len(line)
            paint = colour.tolist()
            if width:
                cv2.polylines(texture, parts, False, paint, max(1, round(width * detail / 4)), cv2.LINE_AA, _SHIFT)
            else:
                cv2.fillPoly(texture, parts, paint, cv2.LINE_AA, _SHIFT)


def to_texture(places: Reals, detail: float) -> NDArray[np.int32]:
    """(column, row) `[N, 2]` of the sheet → fixed-point (x, y) of the texture, as OpenCV draws them."""
    pixels = (places[:, ::-1] + 0.5) * detail - 0.5
    return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def mix(first: Colour, second: Colour | tuple[float, float, float], share: float) -> Colour:
    """`first` with `share` of `second` in it."""
    return np.asarray(first + (np.asarray(second, np.float32) - first) * np.float32(share))


def lay_over(image: Texture, top: Texture, covered: NDArray[np.uint8]) -> None:
    """Put `top` on `image`, both `[H, W, 3]`, where `covered` `[H, W]` is 255, with soft edges."""
    weight = cv2.merge([cv2.GaussianBlur(covered, (3, 3), 0.7)] * 3)
    over = cv2.multiply(top, weight, scale=1 / 255)
    under = cv2.multiply(image, cv2.bitwise_not(weight), scale=1 / 255)
    cv2.add(over, under, dst=image)


def paint_face(person: Person, moment: Moment, landmarks: Reals, detail: int, rng: np.random.Generator) -> Texture:
    """The whole unrolled skin with its features.

    Args:
        person: Colours and proportions.
        moment: Lids, gaze and expression.
        landmarks: `[68, 2]`, from `placed_landmarks`.
        detail: Pixels per column and row of the sheet.
        rng: For single hairs.
    """
    texture = _skin(person, detail)
    strokes = Strokes()
    _folds(strokes, person, moment, landmarks)
    _nose(strokes, person)
    for side in (0, 1):
        _eye(strokes, side, person, moment, landmarks)
        _brow(strokes, side, person, landmarks, rng)
    _mouth(strokes, person, moment, landmarks)
    if person.moustache > 0.35:
        _moustache(strokes, person, rng)
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


def _skin(person: Person, detail: int) -> Texture:
    """Skin without features."""
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
    return np.asarray(cv2.merge(list(channels.reshape(3, COLUMNS * detail, ROWS * detail))))


def tinted(image: Texture, factors: Floats) -> Texture:
    """`image` with its channels multiplied by `factors` `[3]`."""
    table = np.minimum(_RAMP * factors, np.float32(255))
    return np.asarray(cv2.LUT(image, table.astype(np.uint8)))


def _folds(strokes: Strokes, person: Person, moment: Moment, landmarks: Reals) -> None:
    """Lines of age and expression beside the nose, under the eyes and on the forehead."""
    smile = float(moment.weights[1])
    depth = 0.05 + 0.16 * person.age + 0.12 * max(0.0, smile)
    dark = mix(person.skin, person.skin * np.float32(0.55), depth)
    bag = mix(person.skin, person.skin * rgb(0.66, 0.58, 0.6), 0.15 + 0.25 * person.age)
    for sign in (-1, 1):
        strokes.line(
            curve(np.array([(sign * 20.0, 42), (sign * 27, 50), (sign * 31.5, 62), (sign * 31, 70)])), dark, 1.6
        )
        eye = landmarks[[36, 41, 40, 39]] if sign < 0 else landmarks[[45, 46, 47, 42]]
        strokes.line(curve(eye + np.array([(-3 * sign, 5), (0, 4.5), (0, 4.2), (sign, 3.5)])), bag, 1.6)
    if person.age > 0.45:
        lift = sum(moment.brow_raise) / 2
        wrinkle = mix(person.skin, person.skin * np.float32(0.6), 0.25 * person.age + 0.03 * max(0.0, lift))
        for y in (-40.0, -47.0, -54.0):
            strokes.line(curve(np.array([(-30, y + 2), (-12, y), (8, y + 0.7), (30, y + 2)])), wrinkle, 1.0)


def _nose(strokes: Strokes, person: Person) -> None:
    """Wings and nostrils."""
    crease = mix(person.skin, person.skin * rgb(0.6, 0.5, 0.48), 0.55)
    under = mix(person.skin, person.skin * rgb(0.62, 0.5, 0.46), 0.5)
    strokes.line(curve(np.array([(-13.5, 44.2), (-7, 47.2), (0, 48.6), (7, 47.2), (13.5, 44.2)])), under, 1.4)
    for sign in (-1, 1):
        strokes.line(
            curve(np.array([(sign * 14.5, 33.0), (sign * 18, 37), (sign * 18, 42), (sign * 14, 44.5)])), crease, 1.2
        )
        hole = np.array([sign * 7.4, 44.5]) + _CIRCLE * np.array([3.0, 1.4])
        strokes.fill(hole, person.skin * rgb(0.36, 0.26, 0.25))


def _eye(strokes: Strokes, side: int, person: Person, moment: Moment, landmarks: Reals) -> None:
    """White, iris and pupil, then the lids over them, then lashes."""
    outer, inner, upper, lower = EYES[side]
    top = curve(landmarks[[outer, *upper, inner]])
    bottom = curve(landmarks[[outer, *lower, inner]])
    centre = landmarks[[outer, inner]].mean(0) + np.array([moment.gaze[0], moment.gaze[1] - 0.6])
    socket = mix(person.skin, person.skin * rgb(0.7, 0.6, 0.58), 0.4)
    fold = top - person.crease * _DOWN - 3.2 * _LID_ARCH
    strokes.fill(np.concatenate([fold, bottom[::-1] + 1.2 * _DOWN]), socket)
    strokes.fill(np.concatenate([top, bottom[::-1]]), mix(rgb(232, 226, 220), person.skin, 0.12))
    if moment.lids[side] > 0.2:
        _iris(strokes, centre, person)
    lid = mix(person.skin, person.skin * rgb(0.86, 0.76, 0.74), 0.6)
    over, under = top - _DOWN - 5.5 * _LID_ARCH, bottom + 0.5 * _DOWN + 4.5 * _LID_ARCH
    strokes.fill(np.concatenate([top, over[::-1]]), lid)
    strokes.fill(np.concatenate([bottom, under[::-1]]), mix(person.skin, lid, 0.7))
    if person.crease > 1.2:
        strokes.line(fold, mix(person.skin, person.skin * np.float32(0.5), 0.6))
    strokes.line(bottom, mix(person.skin, person.skin * rgb(0.55, 0.42, 0.42), 0.55))
    strokes.line(top, mix(person.hair * np.float32(0.35), person.skin * np.float32(0.3), 0.35), 1.4)


def _iris(strokes: Strokes, centre: Reals, person: Person) -> None:
    strokes.fill(centre + 5.7 * _CIRCLE, person.iris * np.float32(0.55))
    strokes.fill(centre + 4.9 * _CIRCLE, person.iris)
    strokes.fill(centre + 2.2 * _CIRCLE, rgb(10, 8, 8))
    strokes.fill(centre - 1.7 + 0.9 * _CIRCLE[::2], rgb(235, 235, 240))


def _brow(strokes: Strokes, side: int, person: Person, landmarks: Reals, rng: np.random.Generator) -> None:
    """A soft band with hairs on it, its middle line through the landmarks."""
    ridge = curve(landmarks[list(BROWS[side])], 3)
    along = np.linspace(0, 1, len(ridge))
    half = person.brow_width * (0.9 + 2.2 * np.sqrt(along) - 0.6 * along**4)
    up = np.stack([np.zeros(len(ridge)), half], 1)
    tone = person.hair * np.float32(0.75) if person.hair.mean() < 170 else person.hair * np.float32(0.6)
    strokes.fill(np.concatenate([ridge - up, (ridge + up)[::-1]]), mix(person.skin, tone, 0.62))
    side_sign = 1.0 if side == 0 else -1.0
    where, lean, offset = rng.random((3, 12))
    index = (where * (len(ridge) - 1)).astype(np.intp)
    width = half[index]
    root = ridge[index] + np.stack([np.zeros(12), width * (0.9 - 1.2 * offset)], 1)
    tip = root + np.stack([-side_sign * (1.5 + 3 * lean), -width * (0.2 + 0.7 * along[index])], 1)
    strokes.hairs(list(np.stack([root, tip], 1)), mix(person.skin, tone, 0.9))


def _mouth(strokes: Strokes, person: Person, moment: Moment, landmarks: Reals) -> None:
    """Inside of the mouth, teeth and tongue where it is open, then the lips."""
    upper_out, lower_out = curve(landmarks[48:55]), curve(landmarks[[54, 55, 56, 57, 58, 59, 48]])
    upper_in, lower_in = curve(landmarks[60:65]), curve(landmarks[[64, 65, 66, 67, 60]])
    opening = float(moment.weights[0])
    red = mix(person.skin, person.skin * rgb(0.86, 0.5, 0.5) + rgb(14, 0, 6), 0.35 + 0.5 * person.lip_red)
    strokes.fill(np.concatenate([upper_in, lower_in]), rgb(52, 20, 20))
    if opening > 2:
        _teeth(strokes, upper_in, lower_in, opening)
    strokes.fill(np.concatenate([upper_out, upper_in[::-1]]), red * np.float32(0.86))
    strokes.fill(np.concatenate([lower_out, lower_in[::-1]]), red)
    middle = (lower_out[::-1] + _resampled(lower_in[::-1], len(lower_out))) / 2
    strokes.line(middle[8:-8], mix(red, (255, 235, 230), 0.16), 2.0)
    seam = mix(red * np.float32(0.35), (40, 12, 12), 0.5)
    corners = landmarks[[48, 60]], landmarks[[54, 64]]
    strokes.line(upper_in, seam, 1.0)
    for corner in corners:
        strokes.line(corner, seam, 1.2)


def _resampled(line: Reals, count: int) -> Reals:
    at = np.linspace(0, len(line) - 1, count)
    index = np.arange(len(line))
    return np.stack([np.interp(at, index, line[:, 0]), np.interp(at, index, line[:, 1])], 1)


def _teeth(strokes: Strokes, upper: Reals, lower: Reals, opening: float) -> None:
    """Rows of the sheet between the lips are stretched by `opening`; teeth keep their length."""
    length = min(6.5 / opening, 0.8) * (lower[::-1] - upper)[:, 1:]
    edge = upper + np.concatenate([np.zeros_like(length), length], 1)
    strokes.fill(np.concatenate([upper[1:-1], edge[1:-1][::-1]]), rgb(226, 218, 204))
    if opening > 7:
        bed = lower[::-1] * 0.35 + upper * 0.65
        strokes.fill(np.concatenate([bed[4:-4] + np.array([0, 3.0]), lower[4:-4]]), rgb(150, 74, 74))


def _moustache(strokes: Strokes, person: Person, rng: np.random.Generator) -> None:
    tone = mix(person.skin, person.hair * np.float32(0.8), 0.55 + 0.4 * person.moustache)
    outline = np.array(
        [(-25, 66), (-16, 55), (-5, 51.5), (0, 53), (5, 51.5), (16, 55), (25, 66), (13, 61), (0, 58.5), (-13, 61.0)]
    )
    strokes.fill(outline, tone)
    roots = rng.uniform(-1, 1, (12, 2))
    lines = [
        np.array([(21 * x, 57 + 3 * y + 6 * x * x), (22 * x + 3 * np.sign(x), 61 + 3 * y + 6 * x * x)])
        for x, y in roots
    ]
    strokes.hairs(lines, mix(tone, person.hair, 0.6))
