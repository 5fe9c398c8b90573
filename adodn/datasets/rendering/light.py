"""Light on the head and what the camera makes of the picture: shading, exposure, white balance, blur and noise."""

import math
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from adodn.datasets.rendering.compiled import compiled
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


@cache
def _hollows() -> Floats:
    """`[C, R]`: share of the surrounding light that reaches the mean face: less in eye sockets and beside the nose."""
    x, _, z = head_sheet().vertices
    radius = np.hypot(x, z - np.float32(AXIS_Z)).astype(np.float32)
    depth = cv2.GaussianBlur(radius, (0, 0), 2.5) - radius
    return np.asarray(np.clip(1 - 0.055 * np.maximum(depth, 0), 0.45, 1), np.float32)


def shade(vertices: Floats, rotation: Reals, light: Light) -> Floats:
    """`[C, R, 4]`: factors of the colours and gloss to be added, at `vertices` `[3, C, R]` of a head turned so."""
    halfway = light.direction + np.array([0, 0, 1], np.float32)
    ways = np.stack([light.direction, halfway / np.sqrt((halfway**2).sum()), _DOWN]) @ rotation.astype(np.float32)
    shading = np.empty((*vertices.shape[1:], 4), np.float32)
    _shade(vertices, _hollows(), ways, light.ambient, light.lamp, np.float32(light.gloss), shading)
    return shading


@compiled
def _shade(
    vertices: Floats, reach: Floats, ways: Floats, ambient: Floats, lamp: Floats, gloss: np.float32, shading: Floats
) -> None:
    """Fill `shading`; `ways` `[3, 3]` are the directions to the lamp, between lamp and camera, and down."""
    columns, rows = reach.shape
    for i in range(columns):
        for j in range(rows):
            x, y, z = _normal(vertices, i, j)
            facing = ways[0, 0] * x + ways[0, 1] * y + ways[0, 2] * z
            shine = max(ways[1, 0] * x + ways[1, 1] * y + ways[1, 2] * z, np.float32(0))
            down = ways[2, 0] * x + ways[2, 1] * y + ways[2, 2] * z
            around = (np.float32(0.86) - np.float32(0.14) * down) * reach[i, j]
            soft = (facing + np.float32(0.25)) * np.float32(0.8)
            direct = min(max(soft, np.float32(0)), np.float32(1)) * (np.float32(0.5) + np.float32(0.5) * reach[i, j])
            for channel in range(3):
                shading[i, j, channel] = ambient[channel] * around + lamp[channel] * direct
            for _ in range(4):
                shine *= shine
            shading[i, j, 3] = gloss * shine


@compiled
def _normal(vertices: Floats, i: int, j: int) -> tuple[np.float32, np.float32, np.float32]:
    """Unit normal of the sheet at a vertex, outwards; 0 where the sheet has no area."""
    before, after = max(i - 1, 0), min(i + 1, vertices.shape[1] - 1)
    above, below = max(j - 1, 0), min(j + 1, vertices.shape[2] - 1)
    ax = vertices[0, after, j] - vertices[0, before, j]
    ay = vertices[1, after, j] - vertices[1, before, j]
    az = vertices[2, after, j] - vertices[2, before, j]
    bx = vertices[0, i, below] - vertices[0, i, above]
    by = vertices[1, i, below] - vertices[1, i, above]
    bz = vertices[2, i, below] - vertices[2, i, above]
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    scale = np.float32(1) / np.sqrt(x * x + y * y + z * z + np.float32(1e-9))
    return x * scale, y * scale, z * scale


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
    image = _blurred(image, sigma * size / 160)
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


def _blurred(image: Image, sigma: float) -> Image:
    """`image` after a Gaussian; on bytes, OpenCV's general filter is faster than its own Gaussian."""
    line = cv2.getGaussianKernel(2 * math.ceil(2 * sigma) + 1, sigma, cv2.CV_32F)
    return np.asarray(cv2.sepFilter2D(image, -1, line, line))


def _tone_table(rng: np.random.Generator, hard: bool) -> Image:
    """`[3, 256]`: exposure, contrast and white balance of one photo."""
    dark = rng.random() < (0.15 if hard else 0.06)
    gain = rng.uniform(0.35, 0.6) if dark else rng.uniform(0.88, 1.3)
    gamma = rng.uniform(0.85, 1.2)
    balance = 1 + rng.normal(0, 0.045) * np.array([1.0, 0.0, -1.0]) + rng.normal(0, 0.015, 3)
    grey = rng.random() < 0.04
    factors = gain * (np.ones(3) if grey else balance)
    return np.rint(255 * np.clip(factors[:, None] * _LEVELS**gamma, 0, 1)).astype(np.uint8)
