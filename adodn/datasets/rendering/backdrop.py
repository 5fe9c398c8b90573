"""What is behind and below the head: backgrounds and shoulders."""

from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.camera import Camera, rotation
from adodn.datasets.rendering.features import curve
from adodn.datasets.rendering.light import Light
from adodn.datasets.rendering.paint import tinted

Image: TypeAlias = NDArray[np.uint8]

_NUM_BACKDROPS = 32


@cache
def _backdrops(size: int) -> list[Image]:
    """Pictures `[1.6 S, 1.6 S, 3]` of clutter, walls, stripes and blurred lights, cut and tinted anew for each face."""
    return [_backdrop(np.random.default_rng([80, seed]), round(1.6 * size), seed % 4) for seed in range(_NUM_BACKDROPS)]


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
    picture = _backdrops(size)[int(rng.integers(_NUM_BACKDROPS))]
    x, y = rng.integers(0, picture.shape[0] - size, 2)
    cut = picture[y : y + size, x : x + size]
    tint = rng.uniform(0.5, 1.15) * rng.uniform(0.85, 1.15, 3)
    return tinted(cv2.flip(cut, 1) if rng.random() < 0.5 else cut, tint.astype(np.float32))


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
_SHOULDERS = np.concatenate([_SHOULDER, _SHOULDER[::-1] * [-1, 1, 1]])


def draw_shoulders(image: Image, camera: Camera, yaw: float, light: Light, rng: np.random.Generator) -> None:
    """Shoulders in some garment, turned less than the head is."""
    size = image.shape[0]
    body = Camera(
        rotation=camera.rotation @ rotation(-0.55 * yaw, 0.0, 0.0),
        distance=camera.distance,
        scale=camera.scale,
        offset=camera.offset,
    )
    colour = _muted(rng) * (light.ambient + 0.55 * light.lamp)
    fixed = np.rint(body.outline(_SHOULDERS) * 16).astype(np.int32)
    cv2.fillPoly(image, [fixed], np.minimum(colour, 255).tolist(), cv2.LINE_AA, 4)
    collar = (rng.uniform(0.55, 1.25) * colour).clip(0, 255).tolist()
    for neck in (fixed[: len(_SHOULDER) // 2], fixed[-(len(_SHOULDER) // 2) :]):
        band = np.concatenate([neck, neck[::-1] + np.array([0, size // 4], np.int32)])
        cv2.fillPoly(image, [band], collar, cv2.LINE_AA, 4)
