"""Hair and hats: where the hairline runs, how thick the hair lies on the skull, and its strands on the texture."""

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.brush import brush, shapes
from adodn.datasets.rendering.compiled import compiled
from adodn.datasets.rendering.paint import Texture, tinted
from adodn.datasets.rendering.person import Colour, Person
from adodn.datasets.rendering.shape import AXIS_Z, COLUMNS, FACE_ROWS, ROWS, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

_LINE_DEG = np.array([0, 20, 38, 50, 60, 70, 80, 87, 91, 96, 112, 130, 180.0])
_LINE_Y = np.array([-72, -70, -64, -52, -36, -25, -18, -8, 12, 26, 32, 50, 58.0])
_FRONT = {"receding": -22.0, "fringe": 24.0, "long_fringe": 24.0, "cropped": -3.0}
"""Millimetres by which a style's front edge lies below the usual one."""
_THICKNESS = {
    "bald": 0.0,
    "cropped": 2.5,
    "short": 8.0,
    "parted": 12.0,
    "fringe": 10.0,
    "long": 12.0,
    "long_fringe": 12.0,
    "receding": 5.0,
    "beanie": 9.0,
}
_NUM_STRANDS = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hair:
    """Hair on one head."""

    last_row: Reals
    """`[C]`: hair covers the rows above it."""
    thickness: float
    """Millimetres."""
    ramp: float
    """Rows over which the hair gains its thickness."""
    is_long: bool
    colour: Colour
    knitted: bool
    texture: int
    """Which of the patterns of strands."""


@cache
def _usual_line() -> tuple[Reals, Reals, Reals, Reals]:
    """`[C]` each: degrees from the front, y of the usual hairline and of a beanie's edge, and 1 in front … 0 behind."""
    degrees = np.abs(np.degrees(head_sheet().angles))
    beanie = np.interp(degrees, [0, 60, 90, 180], [-46, -38, -20, 10.0])
    return degrees, np.interp(degrees, _LINE_DEG, _LINE_Y), beanie, np.clip((75 - degrees) / 45, 0, 1)


@lru_cache(maxsize=8)
def grow(person: Person) -> Hair | None:
    """The person's hair or hat; None on a bald head."""
    style = person.hair_style
    if style == "bald":
        return None
    degrees, usual, beanie, front = _usual_line()
    wave, (shift, sway, fullness, *tints) = person.hair_noise[:COLUMNS], person.hair_noise[COLUMNS:].tolist()
    knitted, is_long = style == "beanie", style.startswith("long")
    if knitted:
        y = beanie + 3 * shift
    else:
        wavy = 2.6 * np.convolve(wave, (0.25, 0.5, 0.25), "same") * (degrees < 75)
        y = usual + (_FRONT.get(style, 0.0) + 4 * shift) * front + wavy
    if style == "parted":
        y += math.copysign(9, sway) * np.sin(2 * head_sheet().angles) * front
    last_row = head_sheet().rows_at(y)
    if is_long:
        last_row[degrees > 93] = ROWS + 2.0
    return Hair(
        last_row=last_row,
        thickness=_THICKNESS[style] * min(max(1.1 + 0.17 * fullness, 0.8), 1.4),
        ramp=2.0 if "fringe" in style or knitted else 7.0,
        is_long=is_long,
        colour=np.clip(117 + 55 * np.array(tints[:3], np.float32), 25, 210) if knitted else person.hair,
        knitted=knitted,
        texture=person.texture,
    )


def thicken(vertices: Floats, hair: Hair) -> Floats:
    """Vertices `[3, C, R]` with the hair's volume on them."""
    hang = _behind() if hair.is_long else _nowhere()
    return _thicken(vertices, hair.last_row, hair.ramp, hair.thickness, hang)


@compiled
def _thicken(vertices: Floats, last_row: Reals, ramp: float, thickness: float, hang: Floats) -> Floats:
    """As far as `hang` `[C]` says, hair falls from where the head is widest."""
    thick = np.empty_like(vertices)
    axis_z, above, widest = np.float32(AXIS_Z), np.float32(10), np.float32(92)
    for i in range(vertices.shape[1]):
        for j in range(vertices.shape[2]):
            inside = np.float32(min(max((last_row[i] - j + 0.3) / ramp, 0.0), 1.0))
            inside *= np.float32(2) - inside
            x, y, z = vertices[0, i, j], vertices[1, i, j] + above, vertices[2, i, j] - axis_z
            share = 1 + inside * np.float32(thickness) / (np.sqrt(x * x + y * y + z * z) + np.float32(1))
            radius = share * np.sqrt(x * x + z * z) + np.float32(1e-3)
            wide = share * (1 + max(widest / radius - 1, np.float32(0)) * (hang[i, j] * inside))
            thick[0, i, j], thick[1, i, j], thick[2, i, j] = x * wide, y * share - above, z * wide + axis_z
    return thick


@cache
def _behind() -> Floats:
    """`[C, R]`: 1 on the lower back of the head, where long hair hangs, 0 in front and above."""
    degrees = np.abs(np.degrees(head_sheet().angles))
    share = np.clip((degrees - 91) / 24, 0, 1).astype(np.float32)[:, None].repeat(ROWS, 1)
    share[:, : FACE_ROWS // 2] = 0
    return share


@cache
def _nowhere() -> Floats:
    return np.zeros((COLUMNS, ROWS), np.float32)


@cache
def _strands(detail: int) -> list[Texture]:
    """A few textures `[C · D, R · D, 3]` of light and dark strands that run down the head; 128 is the mean."""
    tiles = []
    for seed in range(_NUM_STRANDS):
        noise = np.random.default_rng([78, seed]).standard_normal((COLUMNS * detail, ROWS * detail)).astype(np.float32)
        fine = cv2.GaussianBlur(noise, (0, 0), sigmaX=3.0 * detail, sigmaY=0.22 * detail)
        broad = cv2.GaussianBlur(noise, (0, 0), sigmaX=5.0 * detail, sigmaY=0.8 * detail)
        grey = 128 * (1 + 0.22 * fine / fine.std() + 0.14 * broad / broad.std())
        tiles.append(cv2.merge([np.clip(grey, 20, 255).astype(np.uint8)] * 3))
    return tiles


@cache
def _knit(detail: int) -> Texture:
    row = np.arange(ROWS * detail) / detail
    column = np.arange(COLUMNS * detail)[:, None] / detail
    ribs = 128 * (1 + 0.14 * np.sin(2 * np.pi * column * 1.3) + 0.05 * np.sin(2 * np.pi * row))
    return np.asarray(cv2.merge([np.clip(ribs, 0, 255).astype(np.uint8)] * 3))


@lru_cache(maxsize=8)
def _tinted_strands(hair: Hair, detail: int) -> Texture:
    tile = _knit(detail) if hair.knitted else _strands(detail)[hair.texture % _NUM_STRANDS]
    return tinted(tile.reshape(len(tile), -1), hair.colour / np.float32(128))


def paint_hair(texture: Texture, hair: Hair, detail: int) -> None:
    """Lay the hair over the painted skin, and single hairs across the hairline."""
    _lay_hair(texture, _tinted_strands(hair, detail), hair.last_row, detail)
    if not hair.knitted:
        brush(texture, _strays(hair, detail), _STRAYS, _stray_paints(hair))


@compiled
def _lay_hair(texture: Texture, strands: Texture, last_row: Reals, detail: int) -> None:
    """Lay `strands` over the rows above `last_row` `[C]`, with a soft edge."""
    for i in range(len(texture)):
        place = min(max((i + 0.5) / detail - 0.5, 0.0), len(last_row) - 1.001)
        column = int(place)
        share = place - column
        end = ((1 - share) * last_row[column] + share * last_row[column + 1] + 0.5) * detail
        end = min(max(end, 0.0), texture.shape[1] - 1.0)
        whole, edge = int(end), np.float32(end - int(end))
        texture[i, :whole] = strands[i, :whole]
        for channel in range(3):
            old = np.float32(texture[i, whole, channel])
            new = old + edge * (np.float32(strands[i, whole, channel]) - old) + np.float32(0.5)
            texture[i, whole, channel] = np.uint8(new)


_NUM_STRAYS = 40
_STRAYS = shapes([2] * _NUM_STRAYS, [1.0] * _NUM_STRAYS)
_STRAY_ENDS = np.random.default_rng(83).uniform((4, 0.2, -0.6), (COLUMNS - 4, 0.9, 0.6), (_NUM_STRAYS, 3)).T
"""Column of each single hair, and rows and columns by which it reaches beyond the hairline."""


@lru_cache(maxsize=8)
def _strays(hair: Hair, detail: int) -> Reals:
    """`[2, 2 · 40]`: both ends of single hairs across the hairline, on the texture."""
    column, reach, lean = _STRAY_ENDS
    edge = hair.last_row[column.astype(int)]
    ends = np.array([[edge - 1.2, edge + reach], [column, column + lean]])
    return (ends.swapaxes(1, 2).reshape(2, -1) + 0.5) * detail - 0.5


@lru_cache(maxsize=8)
def _stray_paints(hair: Hair) -> Floats:
    return np.tile(np.append(hair.colour * np.float32(0.88), np.float32(1)), (_NUM_STRAYS, 1))
