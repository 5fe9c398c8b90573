"""What is behind and below the head: backgrounds and shoulders."""

from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.brush import brush, shapes
from adodn.datasets.rendering.camera import Camera, rotation
from adodn.datasets.rendering.features import curve
from adodn.datasets.rendering.light import Light
from adodn.datasets.rendering.paint import tinted

Image: TypeAlias = NDArray[np.uint8]

_NUM_BACKDROPS = 32


@cache
def _backdrops(size: int) -> list[Image]:
    """Pictures `[1.6 S, 4.8 S]` of clutter, walls, stripes and blurred lights, and each of them mirrored."""
    side, seeds = round(1.6 * size), range(_NUM_BACKDROPS)
    pictures = [_backdrop(np.random.default_rng([80, seed]), side, seed % 4) for seed in seeds]
    mirrored = [cv2.flip(picture, 1) for picture in pictures]
    return [np.asarray(picture).reshape(side, -1) for picture in pictures + mirrored]


def _backdrop(rng: np.random.Generator, side: int, kind: int) -> Image:
    y, x = np.mgrid[0:side, 0:side] / side
    first, second = _muted(rng), _muted(rng)
    angle = rng.uniform(0, np.pi)
    ramp = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
    image = np.asarray(first + (second - first) * ramp, np.float32)
    if kind == 1:
        clouds = rng.standard_normal((side, side, 3)).astype(np.float32)
        for sigma in (side / 6, side / 18, side / 50):
            soft = cv2.GaussianBlur(clouds, (0, 0), sigma)
            soft = 0.85 * soft[..., :1] + 0.15 * soft
            image += rng.uniform(6, 22) * soft / soft.std()
    elif kind == 2:
        wave = np.sin(2 * np.pi * rng.uniform(4, 14) * (x * np.sin(angle) + y * np.cos(angle)))
        image += 30 * (wave > rng.uniform(-0.5, 0.8))[..., None].astype(np.float32)
    if kind >= 2:
        _clutter(image, rng, 18 if kind == 3 else 7)
    blur = cv2.GaussianBlur(image, (0, 0), side / rng.uniform(40, 200))
    return np.asarray(np.clip(blur, 0, 255), np.uint8)


def _muted(rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour of the everyday world: mostly grey, seldom loud."""
    vivid = rng.beta(1.2, 2.5)
    return np.asarray((1 - vivid) * rng.uniform(15, 240) + vivid * rng.uniform(10, 245, 3))


def _clutter(image: NDArray[np.float32], rng: np.random.Generator, count: int) -> None:
    side = image.shape[0]
    for _ in range(count):
        colour = _muted(rng).tolist()
        centre = rng.uniform(0, side, 2)
        if rng.random() < 0.4:
            cv2.circle(image, centre.astype(int).tolist(), int(rng.uniform(0.02, 0.16) * side), colour, -1)
        else:
            corners = centre + rng.uniform(-0.25, 0.25, (4, 2)) * side
            cv2.fillConvexPoly(image, cv2.convexHull(corners.astype(np.int32)), colour)


def draw_backdrop(rng: np.random.Generator, size: int) -> Image:
    """A fresh `[S, S, 3]` background."""
    which, across, down, bright, *tints = rng.random(7).tolist()
    picture = _backdrops(size)[int(which * 2 * _NUM_BACKDROPS)]
    room = len(picture) - size
    x, y = int(across * room), int(down * room)
    tint = (0.5 + 0.65 * bright) * (0.85 + 0.3 * np.array(tints, np.float32))
    return tinted(picture[y : y + size, 3 * x : 3 * (x + size)], tint)


_SHOULDER = curve(
    np.array(
        [
            (0, 168, -40),
            (-34, 156, -55),
            (-62, 140, -92),
            (-95, 152, -112),
            (-150, 170, -115),
            (-198, 205, -118),
            (-225, 310, -110),
            (-235, 520, -90),
        ],
        np.float64,
    ),
    3,
)
_HALF = np.arange(len(_SHOULDER) // 2)
_COLLARS = np.concatenate([_HALF, _HALF[::-1], -1 - _HALF, -1 - _HALF[::-1]])
_SHOULDERS = np.concatenate([_SHOULDER, _SHOULDER[::-1] * [-1, 1, 1]]).T
_SHAPES = shapes([2 * len(_SHOULDER), 2 * len(_HALF), 2 * len(_HALF)])
_LOWERED = np.tile(np.repeat([0, 1], len(_HALF)), 2)
"""Along the neck a band, and the same line again further down."""


def draw_shoulders(image: Image, camera: Camera, yaw: float, light: Light, rng: np.random.Generator) -> None:
    """Shoulders in some garment, turned less than the head is."""
    turn = camera.rotation @ rotation(-0.55 * yaw, 0.0, 0.0)
    body = Camera(rotation=turn, distance=camera.distance, scale=camera.scale, offset=camera.offset)
    outline = body.project(_SHOULDERS)[0]
    collars = outline[:, _COLLARS]
    collars[1] += image.shape[0] / 64 * _LOWERED
    colour = _muted(rng) * (light.ambient + 0.55 * light.lamp)
    paints = np.ones((3, 4), np.float32)
    paints[0, :3], paints[1:, :3] = colour, rng.uniform(0.55, 1.25) * colour
    brush(image, np.concatenate([outline, collars], 1), _SHAPES, paints.clip(0, 255))
