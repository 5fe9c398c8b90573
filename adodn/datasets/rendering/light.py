"""Light on the head and what the camera makes of the picture: shading, exposure, white balance, blur and noise."""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from adodn.datasets.rendering.camera import differences
from adodn.datasets.rendering.shape import AXIS_Z, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]

_NUM_GRAINS = 4
_DOWN = np.array([0, 1, 0], np.float32)
_LEVELS = np.linspace(0, 1, 256)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Light:
    """One soft lamp and the light from all around."""

    direction: Floats
    """`[3]`, unit, from the head to the lamp, as the camera sees it."""
    ambient: Floats
    """`[3]`, RGB."""
    lamp: Floats
    """`[3]`, RGB."""
    gloss: float


def draw_light(rng: np.random.Generator, *, hard: bool) -> Light:
    """A random light; where `hard`, more often from the side."""
    side = rng.normal(0, 0.9 if hard else 0.6)
    direction = np.array([side, rng.uniform(-0.9, 0.1), rng.uniform(0.5, 1.0)])
    strength = rng.uniform(0.3, 0.75)
    warmth = np.array([1.0, 1.0, 1.0]) + rng.normal(0, 0.06) * np.array([1.0, 0.1, -1.0])
    return Light(
        direction=(direction / np.linalg.norm(direction)).astype(np.float32),
        ambient=((0.92 - strength) * (2 - warmth)).astype(np.float32),
        lamp=(strength * 1.2 * warmth).astype(np.float32),
        gloss=float(rng.uniform(4, 40)),
    )


def normals(vertices: Floats) -> Floats:
    """`[3, C, R]`: unit normals of the sheet `[3, C, R]`, outwards."""
    (ax, ay, az), (bx, by, bz) = differences(vertices)
    normal = np.empty_like(vertices)
    x, y, z = normal
    np.subtract(ay * bz, az * by, out=x)
    np.subtract(az * bx, ax * bz, out=y)
    np.subtract(ax * by, ay * bx, out=z)
    normal /= np.sqrt(x * x + y * y + z * z + np.float32(1e-9))
    return normal


@cache
def _hollows() -> Floats:
    """`[C, R]`: share of the surrounding light that reaches the mean face: less in eye sockets and beside the nose."""
    x, _, z = head_sheet().vertices
    radius = np.hypot(x, z - np.float32(AXIS_Z)).astype(np.float32)
    depth = cv2.GaussianBlur(radius, (0, 0), 2.5) - radius
    return np.asarray(np.clip(1 - 0.055 * np.maximum(depth, 0), 0.45, 1), np.float32)


def shade(vertices: Floats, rotation: Reals, light: Light) -> tuple[Image, Image]:
    """Factors `[C, R, 3]`, where 128 stands for 1, and gloss to be added `[C, R]`, for `vertices` `[3, C, R]`."""
    halfway = light.direction + np.array([0, 0, 1], np.float32)
    views = np.stack([light.direction, halfway / np.sqrt((halfway**2).sum()), _DOWN]) @ rotation.astype(np.float32)
    facing, shine, down = views @ normals(vertices).reshape(3, -1)
    reach = _hollows().ravel()
    sources = np.empty((2, reach.size), np.float32)
    np.multiply(np.float32(0.86) - np.float32(0.14) * down, reach, out=sources[0])
    soft = np.clip((facing + np.float32(0.25)) / np.float32(1.25), 0, 1)
    np.multiply(soft, np.float32(0.5) + np.float32(0.5) * reach, out=sources[1])
    np.clip(shine, 0, 1, out=shine)
    for _ in range(4):
        shine *= shine
    factors = cv2.convertScaleAbs(np.stack([light.ambient, light.lamp], 1) @ sources, alpha=128)
    gloss = cv2.convertScaleAbs(shine, alpha=light.gloss)
    return cv2.merge(list(factors.reshape(vertices.shape))), gloss.reshape(vertices.shape[1:])


def apply_shade(texture: Image, factors: Image, shine: Image) -> Image:
    """The texture as lit; the factors are spread from the sheet's vertices over its pixels."""
    size = (texture.shape[1], texture.shape[0])
    spread = cv2.resize(factors, size, interpolation=cv2.INTER_LINEAR)
    lit = cv2.multiply(texture, spread, scale=1 / 128)
    gloss = cv2.cvtColor(cv2.resize(shine, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.add(lit, gloss))


@cache
def _grains(size: int) -> list[Image]:
    """Film grain `[S, S, 3]` around 128, standard deviation 32."""
    grains = []
    for seed in range(_NUM_GRAINS):
        noise = np.random.default_rng([79, seed]).standard_normal((size, size, 3)).astype(np.float32)
        grains.append(np.clip(128 + 32 * noise, 0, 255).astype(np.uint8))
    return grains


def expose(image: Image, rng: np.random.Generator, *, hard: bool) -> Image:
    """Blur, tone, colour cast, grain and, now and then, a poor JPEG in between."""
    size = image.shape[0]
    sigma = rng.uniform(0.35, 0.75) if rng.random() < 0.8 else rng.uniform(0.8, 1.5)
    image = cv2.GaussianBlur(image, (0, 0), sigma * size / 160)
    channels = zip(cv2.split(image), _tone_table(rng, hard), strict=True)
    image = cv2.merge([cv2.LUT(channel, table) for channel, table in channels])  # faster than one table of three
    strength = rng.uniform(0.02, 0.1) if rng.random() < 0.8 else rng.uniform(0.1, 0.3)
    grain = _grains(size)[int(rng.integers(_NUM_GRAINS))]
    grain = cv2.flip(grain, int(rng.integers(-1, 2)))
    image = cv2.addWeighted(image, 1, grain, strength, -128 * strength)
    if rng.random() < 0.12:
        data = simplejpeg.encode_jpeg(image, quality=int(rng.integers(25, 70)), colorspace="RGB")
        image = simplejpeg.decode_jpeg(data, colorspace="RGB")
    return np.asarray(image)


def _tone_table(rng: np.random.Generator, hard: bool) -> Image:
    """`[3, 256]`: exposure, contrast and white balance of one photo."""
    dark = rng.random() < (0.15 if hard else 0.06)
    gain = rng.uniform(0.35, 0.6) if dark else rng.uniform(0.88, 1.3)
    gamma = rng.uniform(0.85, 1.2)
    balance = 1 + rng.normal(0, 0.045) * np.array([1.0, 0.0, -1.0]) + rng.normal(0, 0.015, 3)
    grey = rng.random() < 0.04
    factors = gain * (np.ones(3) if grey else balance)
    return np.rint(255 * np.clip(factors[:, None] * _LEVELS**gamma, 0, 1)).astype(np.uint8)
