"""Make-up: paints skin, eyes, brows, mouth and beard on the unrolled head. No light, no camera.

The texture is `[C · detail, R · detail, 3]`: a line of pixels runs from the crown down the neck, its lines run around
the head. Features are described in millimetres of the mean face and put in place by `HeadSheet.locate`.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.brush import Shapes, brush
from adodn.datasets.rendering.person import Colour, Moment, Person, rgb
from adodn.datasets.rendering.shape import COLUMNS, ROWS, head_sheet
from adodn.datasets.rendering.strokes import BROW_HAIRS, IRIS, SIDES, strokes

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Texture: TypeAlias = NDArray[np.uint8]

_SHIFT = 4
_NUM_MOTTLES = 6


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
    paints = _paints_now(person, moment, rng)[sheet.paint_of]
    brush(texture, (places.T[::-1] + 0.5) * detail - 0.5, what, paints)
    return texture


def _paints_now(person: Person, moment: Moment, rng: np.random.Generator) -> Floats:
    """`[K, 4]`: colours and opacities; 0 is what this moment does not show."""
    opening, smile = moment.weights[:2].tolist()
    opacities = {
        "fold": 0.05 + 0.16 * person.age + 0.12 * max(0.0, smile),
        "wrinkles": (person.age > 0.45) * (0.25 * person.age + 0.03 * max(0.0, sum(moment.brow_raise) / 2)),
        "teeth": opening > 2,
        "tongue": opening > 7,
    }
    for side, lid in zip(SIDES, moment.lids, strict=True):
        opacities |= dict.fromkeys((f"{side}_{part}" for part in IRIS), lid > 0.2)
    opacities |= zip(BROW_HAIRS, rng.random(len(BROW_HAIRS)).tolist(), strict=True)
    paints, row = _paints(person).copy(), strokes().row
    paints[[row[name] for name in opacities], 3] = list(opacities.values())
    return paints


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
    """Skin without features; not to be written to."""
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
    return np.asarray(cv2.transform(image, np.diag(factors)))


@lru_cache(maxsize=8)
def _paints(person: Person) -> Floats:
    """`[K, 4]`: the colour of each paint, and its opacity as far as the person decides on it."""
    skin, hair = person.skin, person.hair
    lid = mix(skin, skin * rgb(0.86, 0.76, 0.74), 0.6)
    tone = hair * np.float32(0.75 if hair.mean() < 170 else 0.6)
    lip = mix(skin, skin * rgb(0.86, 0.5, 0.5) + rgb(14, 0, 6), 0.35 + 0.5 * person.lip_red)
    mouth = mix(lip * np.float32(0.35), (40, 12, 12), 0.5)
    has_moustache = person.moustache > 0.35
    paints: dict[str, tuple[Colour, float]] = {
        "nose_base": (skin * rgb(0.62, 0.5, 0.46), 0.5),
        "nose_wings": (skin * rgb(0.6, 0.5, 0.48), 0.55),
        "nostrils": (skin * rgb(0.36, 0.26, 0.25), 1.0),
        "fold": (skin * np.float32(0.55), 0.0),
        "bag": (skin * rgb(0.66, 0.58, 0.6), 0.15 + 0.25 * person.age),
        "wrinkles": (skin * np.float32(0.6), 0.0),
        "socket": (skin * rgb(0.7, 0.6, 0.58), 0.4),
        "white": (mix(rgb(232, 226, 220), skin, 0.12), 1.0),
        **{f"{side}_{part}": (colour, 0.0) for side in SIDES for part, colour in _iris(person)},
        "lid": (lid, 1.0),
        "lower_lid": (mix(skin, lid, 0.7), 1.0),
        "lid_fold": (skin * np.float32(0.5), 0.6 * (person.crease > 1.2)),
        "lid_edge": (skin * rgb(0.55, 0.42, 0.42), 0.55),
        "lashes": (mix(hair * np.float32(0.35), skin * np.float32(0.3), 0.35), 1.0),
        "brow": (tone, 0.62),
        **dict.fromkeys(BROW_HAIRS, (tone, 0.0)),
        "mouth": (rgb(52, 20, 20), 1.0),
        "teeth": (rgb(226, 218, 204), 0.0),
        "tongue": (rgb(150, 74, 74), 0.0),
        "upper_lip": (lip * np.float32(0.86), 1.0),
        "lower_lip": (lip, 1.0),
        "lip_shine": (rgb(255, 235, 230), 0.16),
        "lip_seam": (mouth, 1.0),
        "moustache": (hair * np.float32(0.8), has_moustache * (0.55 + 0.4 * person.moustache)),
        "moustache_hairs": (hair, 0.6 * has_moustache),
    }
    table = [(*paints[name][0].tolist(), paints[name][1]) for name in strokes().row]
    return np.array(table, np.float32).clip(0, 255)


def _iris(person: Person) -> Iterable[tuple[str, Colour]]:
    colours = person.iris * np.float32(0.55), person.iris, rgb(10, 8, 8), rgb(235, 235, 240)
    return zip(IRIS, colours, strict=True)
