"""Hair and hats: where the hairline runs, how thick the hair lies on the skull, and its strands on the texture."""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.paint import Texture, mix, soft_weight, tinted, to_texture
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
    seed: int


@lru_cache(maxsize=8)
def grow(person: Person) -> Hair | None:
    """The person's hair or hat; None on a bald head."""
    if person.hair_style == "bald":
        return None
    rng = np.random.default_rng(person.hair_seed)
    sheet = head_sheet()
    degrees = np.abs(np.degrees(sheet.angles))
    y = np.interp(degrees, _LINE_DEG, _LINE_Y)
    front = np.clip((75 - degrees) / 45, 0, 1)
    y += _FRONT.get(person.hair_style, 0.0) * front + rng.normal(0, 4) * front
    wave = rng.normal(0, 2.6, COLUMNS)
    y += np.convolve(wave, [0.25, 0.5, 0.25], "same") * (degrees < 75)
    if person.hair_style == "parted":
        y += rng.choice([-1, 1]) * 9 * np.sin(2 * sheet.angles) * front
    if person.hair_style == "beanie":
        y = np.interp(degrees, [0, 60, 90, 180], [-46, -38, -20, 10.0]) + rng.normal(0, 3)
    last_row = sheet.locate_around(sheet.angles, y)[:, 1]
    is_long = person.hair_style.startswith("long")
    if is_long:
        last_row = np.where(degrees > 93, ROWS + 2.0, last_row)
    knitted = person.hair_style == "beanie"
    return Hair(
        last_row=last_row,
        thickness=_THICKNESS[person.hair_style] * float(rng.uniform(0.8, 1.4)),
        ramp=2.0 if "fringe" in person.hair_style or knitted else 7.0,
        is_long=is_long,
        colour=rng.uniform(25, 210, 3).astype(np.float32) if knitted else person.hair,
        knitted=knitted,
        seed=person.hair_seed,
    )


def thicken(vertices: Floats, hair: Hair) -> Floats:
    """Vertices `[3, C, R]` with the hair's volume on them."""
    inside = _inside(hair)
    x, y, z = vertices
    y, z = y + np.float32(10), z - np.float32(AXIS_Z)
    share = 1 + inside * np.float32(hair.thickness) / (np.sqrt(x * x + y * y + z * z) + np.float32(1))
    flat = share * _hang(x * share, z * share, inside) if hair.is_long else share
    thick = np.empty_like(vertices)
    np.multiply(x, flat, out=thick[0])
    np.subtract(y * share, np.float32(10), out=thick[1])
    np.add(z * flat, np.float32(AXIS_Z), out=thick[2])
    return thick


@lru_cache(maxsize=8)
def _inside(hair: Hair) -> Floats:
    """`[C, R]`: share of the hair's thickness that each vertex has."""
    inside = np.clip((hair.last_row[:, None] - np.arange(ROWS) + 0.3) / hair.ramp, 0, 1).astype(np.float32)
    return inside * (2 - inside)


def _hang(x: Floats, z: Floats, inside: Floats) -> Floats:
    """`[C, R]`: factors by which long hair stands off the axis: it falls from where the head is widest."""
    radius = np.sqrt(x * x + z * z) + np.float32(1e-3)
    return np.asarray(1 + (np.maximum(np.float32(92.0) / radius, 1) - 1) * (_behind() * inside))


@cache
def _behind() -> Floats:
    """`[C, R]`: 1 on the lower back of the head, where long hair hangs, 0 in front and above."""
    degrees = np.abs(np.degrees(head_sheet().angles))
    share = np.clip((degrees - 91) / 24, 0, 1).astype(np.float32)[:, None].repeat(ROWS, 1)
    share[:, : FACE_ROWS // 2] = 0
    return share


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Layer:
    """One person's hair as it is laid over any painting of the head."""

    top: Texture
    """`[C · D, R · D, 3]`: the hair, times its weight."""
    below: Texture
    """255 less the hair's weight."""
    strays: list[NDArray[np.int32]]
    """Single hairs across the hairline."""
    stray_colour: list[float]


def paint_hair(texture: Texture, hair: Hair, detail: int) -> None:
    """Lay the hair over the painted skin."""
    layer = _layer(hair, detail)
    cv2.add(cv2.multiply(texture, layer.below, scale=1 / 255), layer.top, dst=texture)
    cv2.polylines(texture, layer.strays, False, layer.stray_colour, 1, cv2.LINE_AA, 4)


@lru_cache(maxsize=8)
def _layer(hair: Hair, detail: int) -> _Layer:
    tile = _knit(detail) if hair.knitted else _strands(detail)[hair.seed % _NUM_STRANDS]
    edge = np.stack([np.arange(COLUMNS), hair.last_row], 1)
    outline = to_texture(np.concatenate([[[-1, -2]], [[-1, hair.last_row[0]]], edge, [[COLUMNS, -2]]]), detail)
    mask = np.zeros(tile.shape[:2], np.uint8)
    cv2.fillPoly(mask, [outline], (255,), cv2.LINE_8, 4)
    weight = soft_weight(mask)
    return _Layer(
        top=cv2.multiply(tinted(tile, hair.colour / np.float32(128)), weight, scale=1 / 255),
        below=cv2.bitwise_not(weight),
        strays=[] if hair.knitted else _strays(hair, detail),
        stray_colour=mix(hair.colour, (0, 0, 0), 0.12).tolist(),
    )


def _strays(hair: Hair, detail: int) -> list[NDArray[np.int32]]:
    rng = np.random.default_rng([hair.seed, 1])
    column = rng.uniform(4, COLUMNS - 5, 44)
    edge = np.interp(column, np.arange(COLUMNS), hair.last_row)
    reach, lean = rng.uniform(0.2, 0.9, 44), rng.uniform(-0.6, 0.6, 44)
    start, end = np.stack([column, edge - 1.2], 1), np.stack([column + lean, edge + reach], 1)
    return list(to_texture(np.stack([start, end], 1).reshape(-1, 2), detail).reshape(-1, 2, 2))
