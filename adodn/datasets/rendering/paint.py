"""Make-up: paints skin, eyes, brows, mouth and beard on the unrolled head. No light, no camera.

The texture is `[C · detail, R · detail, 3]`: a line of pixels runs from the crown down the neck, its lines run around
the head. Features are described in millimetres of the mean face and put in place by `HeadSheet.locate`.
"""

from functools import cache, lru_cache
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.brush import Shapes, brush
from adodn.datasets.rendering.compiled import compiled
from adodn.datasets.rendering.person import Colour, Moment, Person, rgb
from adodn.datasets.rendering.shape import COLUMNS, ROWS, head_sheet
from adodn.datasets.rendering.strokes import BROW_HAIRS, IRIS, SIDES, strokes

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Texture: TypeAlias = NDArray[np.uint8]
Factors: TypeAlias = float | tuple[float, float, float]

_SHIFT = 4
_NUM_MOTTLES, _SKIN_STEP = 6, 1 / 32
_WHITE = np.ones(3, np.float32)


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
    texture, sheet = _skin(person, detail).copy(), strokes()
    places = head_sheet().locate(sheet.points(landmarks, person, moment))
    what = Shapes(sheet.shapes.stops, sheet.shapes.widths * (detail / 4))
    brush(texture, (places.T[::-1] + 0.5) * detail - 0.5, what, _paints(person, moment, rng)[sheet.paint_of])
    return texture


@cache
def _skin_maps(detail: int) -> list[NDArray[np.int8]]:
    """For each of a few mottlings, `[5, C · D · R · D]` in steps: mottles, fine grain, blush, beard, freckles."""
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
        planes = (mottles / mottles.std(), grain / grain.std(), 3 * blush, 3 * hairs, 3 * freckles)
        maps.append(np.clip(np.rint(np.stack(planes) / _SKIN_STEP), -128, 127).astype(np.int8).reshape(len(planes), -1))
    return maps


@lru_cache(maxsize=8)
def _skin(person: Person, detail: int) -> Texture:
    """Skin without features; not to be written to."""
    skin, planes = person.skin, _skin_maps(detail)[person.texture % _NUM_MOTTLES]
    colours = np.array(
        [
            skin * rgb(0.014, 0.022, 0.024),
            skin * np.float32(0.012 + 0.02 * person.age),
            skin * rgb(0.01, -0.025, -0.02) * np.float32(0.4 + 0.9 * person.blush),
            (person.hair * np.float32(0.8) - skin) * np.float32(0.28 * person.beard),
            skin * rgb(-0.09, -0.14, -0.17) * np.float32(min(1.0, person.freckles)),
        ]
    )
    channels = np.empty((3, COLUMNS * detail, ROWS * detail), np.uint8)
    _mix_skin(planes, skin, colours * np.float32(_SKIN_STEP), channels.reshape(3, -1))
    return np.asarray(cv2.merge(list(channels)))


@compiled
def _mix_skin(planes: NDArray[np.int8], skin: Colour, colours: Floats, channels: Texture) -> None:
    """Fill `channels` `[3, N]` with skin and what `planes` `[5, N]` add to it."""
    mottles, grain, blush, hairs, freckles = planes
    for channel in range(3):
        base, share = skin[channel] + np.float32(0.5), colours[:, channel]
        for n in range(planes.shape[1]):
            value = base + share[0] * mottles[n] + share[1] * grain[n] + share[2] * blush[n]
            value += share[3] * hairs[n] + share[4] * freckles[n]
            channels[channel, n] = np.int32(min(max(value, np.float32(0)), np.float32(255)))


@compiled
def tinted(image: Texture, factors: Floats) -> Texture:
    """`image` `[H, 3 W]`, its channels side by side, as one `[H, W, 3]` multiplied by `factors` `[3]`."""
    height, width = image.shape
    tint, paint = np.empty((height, width), np.uint8), np.empty(width, np.float32)
    for x in range(width):
        paint[x] = factors[x % 3]
    for y in range(height):
        for x in range(width):
            tint[y, x] = np.int32(min(paint[x] * np.float32(image[y, x]) + np.float32(0.5), np.float32(255)))
    return tint.reshape(height, width // 3, 3)


class _Paint(NamedTuple):
    """A colour, summed up from a person's own and a fixed one."""

    opacity: float
    """0 where it is up to the person or the moment."""
    skin: Factors = 0
    hair: Factors = 0
    lip: Factors = 0
    iris: Factors = 0
    fixed: Factors = 0


_PAINTS = {
    "nose_base": _Paint(0.5, skin=(0.62, 0.5, 0.46)),
    "nose_wings": _Paint(0.55, skin=(0.6, 0.5, 0.48)),
    "nostrils": _Paint(1, skin=(0.36, 0.26, 0.25)),
    "fold": _Paint(0, skin=0.55),
    "bag": _Paint(0, skin=(0.66, 0.58, 0.6)),
    "wrinkles": _Paint(0, skin=0.6),
    "socket": _Paint(0.4, skin=(0.7, 0.6, 0.58)),
    "white": _Paint(1, skin=0.12, fixed=(204, 199, 194)),
    **dict.fromkeys(("left_iris_edge", "right_iris_edge"), _Paint(0, iris=0.55)),
    **dict.fromkeys(("left_iris", "right_iris"), _Paint(0, iris=1)),
    **dict.fromkeys(("left_pupil", "right_pupil"), _Paint(0, fixed=(10, 8, 8))),
    **dict.fromkeys(("left_glint", "right_glint"), _Paint(0, fixed=(235, 235, 240))),
    "lid": _Paint(1, skin=(0.92, 0.86, 0.84)),
    "lower_lid": _Paint(1, skin=(0.94, 0.9, 0.89)),
    "lid_fold": _Paint(0, skin=0.5),
    "lid_edge": _Paint(0.55, skin=(0.55, 0.42, 0.42)),
    "lashes": _Paint(1, skin=0.1, hair=0.23),
    "brow": _Paint(0.62, hair=0.7),
    **dict.fromkeys(BROW_HAIRS, _Paint(0, hair=0.7)),
    "mouth": _Paint(1, fixed=(52, 20, 20)),
    "teeth": _Paint(0, fixed=(226, 218, 204)),
    "tongue": _Paint(0, fixed=(150, 74, 74)),
    "upper_lip": _Paint(1, lip=0.86),
    "lower_lip": _Paint(1, lip=1),
    "lip_shine": _Paint(0.16, fixed=(255, 235, 230)),
    "lip_seam": _Paint(1, lip=0.18, fixed=(20, 6, 6)),
    "moustache": _Paint(0, hair=0.8),
    "moustache_hairs": _Paint(0, hair=1),
}


@cache
def _recipes() -> Floats:
    """`[3, K, 5]`: for each channel, the shares of the colours of `_Paint`, in its order, in every paint."""
    paints = [_PAINTS[name] for name in strokes().row]
    shares = [[np.broadcast_to(part, 3) for part in paint[1:]] for paint in paints]
    return np.ascontiguousarray(np.moveaxis(np.array(shares, np.float32), -1, 0))


@cache
def _usual_opacities() -> Floats:
    return np.array([_PAINTS[name].opacity for name in strokes().row], np.float32)


def _paints(person: Person, moment: Moment, rng: np.random.Generator) -> Floats:
    """`[K, 4]`: colours and opacities; 0 is what this moment does not show."""
    skin, red = person.skin, np.float32(0.35 + 0.5 * person.lip_red)
    lip = skin + red * (skin * rgb(-0.14, -0.5, -0.5) + rgb(14, 0, 6))
    own = np.array([skin, person.hair, lip, person.iris, _WHITE]).T[..., None]
    opacities, row = _opacities(person, moment, rng), strokes().row
    paints = np.empty((len(row), 4), np.float32)
    paints[:, :3] = np.minimum(_recipes() @ own, 255)[..., 0].T
    paints[:, 3] = _usual_opacities()
    for name, opacity in opacities.items():
        paints[row[name], 3] = opacity
    return paints


def _opacities(person: Person, moment: Moment, rng: np.random.Generator) -> dict[str, float]:
    """What is not as usual."""
    opening, smile = moment.weights[:2].tolist()
    opacities = {
        "fold": 0.05 + 0.16 * person.age + 0.12 * max(0.0, smile),
        "bag": 0.15 + 0.25 * person.age,
        "lid_fold": 0.6 * (person.crease > 1.2),
        "teeth": float(opening > 2),
        "tongue": float(opening > 7),
    }
    if person.age > 0.45:
        opacities["wrinkles"] = 0.25 * person.age + 0.03 * max(0.0, sum(moment.brow_raise) / 2)
    if person.moustache > 0.35:
        opacities |= {"moustache": 0.55 + 0.4 * person.moustache, "moustache_hairs": 0.6}
    for side, lid in zip(SIDES, moment.lids, strict=True):
        opacities |= dict.fromkeys((f"{side}_{part}" for part in IRIS), float(lid > 0.2))
    opacities |= zip(BROW_HAIRS, rng.random(len(BROW_HAIRS)).tolist(), strict=True)
    return opacities
