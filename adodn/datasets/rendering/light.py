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

_DOWN, _FORWARD = np.array([[0, 1, 0], [0, 0, 1]], np.float32)
_SMALL_BLUR = 0.75
"""Pixels: a Gaussian up to here is as good as three weights."""
_WARMTH = np.array([1, 0.1, -1], np.float32)
_CAST = np.array([1.0, 0.0, -1.0])


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
    x, y, z = rng.normal(0, 0.9 if hard else 0.6), rng.uniform(-0.9, 0.1), rng.uniform(0.5, 1.0)
    strength = rng.uniform(0.3, 0.75)
    warmth = 1 + rng.normal(0, 0.06) * _WARMTH
    return Light(
        direction=np.array([x, y, z], np.float32) / np.float32(math.hypot(x, y, z)),
        ambient=(0.92 - strength) * (2 - warmth),
        lamp=strength * 1.2 * warmth,
        gloss=rng.uniform(4, 40),
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
    halfway = (light.direction + _FORWARD) / math.sqrt(2 + 2 * light.direction[2])
    ways = np.array([light.direction, halfway, _DOWN]) @ rotation.astype(np.float32)
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
def _grain(size: int) -> NDArray[np.int8]:
    """Film grain `[2 S, 6 S]`, standard deviation 32; each photo gets a part of it."""
    noise = np.random.default_rng(79).standard_normal((2 * size, 6 * size), np.float32)
    return (32 * noise).clip(-127, 127).astype(np.int8)


def expose(image: Image, rng: np.random.Generator, *, hard: bool) -> Image:
    """Blur, tone, colour cast, grain and, now and then, a poor JPEG in between."""
    size = image.shape[0]
    sigma = (rng.uniform(0.35, 0.75) if rng.random() < 0.8 else rng.uniform(0.8, 1.5)) * size / 160
    if sigma > _SMALL_BLUR:
        image = _blurred(image, math.sqrt(sigma**2 - _SMALL_BLUR**2))
    strength = rng.uniform(0.02, 0.1) if rng.random() < 0.8 else rng.uniform(0.1, 0.3)
    top, left = int(rng.random() * size), int(rng.random() * 3 * size)
    grain = _grain(size)[top : top + size, left : left + 3 * size]
    factors, bend = _tone(rng, hard)
    side = np.float32(min(sigma, _SMALL_BLUR) ** 2 / 2)
    image = _developed(image.reshape(size, -1), side, factors, bend, grain, np.float32(strength)).reshape(size, size, 3)
    if rng.random() < 0.12:
        data = simplejpeg.encode_jpeg(image, quality=int(rng.integers(25, 70)), colorspace="RGB")
        image = simplejpeg.decode_jpeg(data, colorspace="RGB")
    return np.asarray(image)


def _blurred(image: Image, sigma: float) -> Image:
    """`image` after a Gaussian; on bytes, OpenCV's general filter is faster than its own Gaussian."""
    line = cv2.getGaussianKernel(2 * math.ceil(2 * sigma) + 1, sigma, cv2.CV_32F)
    return np.asarray(cv2.sepFilter2D(image, -1, line, line))


@compiled
def _developed(
    image: Image, side: np.float32, factors: Floats, bend: np.float32, grain: NDArray[np.int8], strength: np.float32
) -> Image:
    """`image` `[S, 3 S]`, channels side by side, after a blur by (side, 1 - 2 side, side), tone curves and grain."""
    height, width = image.shape
    white, middle = np.float32(255), np.float32(1) - 2 * side
    developed, soft, factor = np.empty_like(image), np.empty(width + 6, np.float32), np.empty(width, np.float32)
    for x in range(width):
        factor[x] = factors[x % 3]
    for y in range(height):
        above, here, below = image[max(y - 1, 0)], image[y], image[min(y + 1, height - 1)]
        for x in range(width):
            soft[x + 3] = middle * here[x] + side * (np.float32(above[x]) + np.float32(below[x]))
        soft[:3], soft[-3:] = soft[3:6], soft[-6:-3]
        for x in range(width):
            value = middle * soft[x + 3] + side * (soft[x] + soft[x + 6])
            value *= factor[x] * (np.float32(1) + bend * (white - value))
            value += strength * np.float32(grain[y, x]) + np.float32(0.5)
            developed[y, x] = np.int32(min(max(value, np.float32(0)), white))
    return developed


def _tone(rng: np.random.Generator, hard: bool) -> tuple[Floats, np.float32]:
    """Exposure and white balance `[3]` of one photo, and the bend of its tone curve: above 0 is brighter between."""
    dark = rng.random() < (0.15 if hard else 0.06)
    gain = rng.uniform(0.35, 0.6) if dark else rng.uniform(0.88, 1.3)
    bend = rng.uniform(-0.25, 0.2) / 255
    warm, tints = rng.normal(0, 0.045), rng.normal(0, 0.015, 3)
    balance = 1 + (warm * _CAST + tints) * (rng.random() >= 0.04)
    return (gain * balance).astype(np.float32), np.float32(bend)
