"""A drawing board in face units, and the small pictures that come off it. It knows no occluder, and no face.

board = Board(-1, -1, 1, 1, px=36)
board.paint(board.filled(outline), colour)
sprite = board.sprite()
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Reals: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]

_OVERSAMPLING = 2
_LAMP = np.array([-0.35, -0.55, 0.76])
"""Towards the light: from above, a little from the left."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sprite:
    """A picture to be laid over others."""

    rgba: Image
    """`[h, w, 4]`, colours already multiplied by the opacity."""
    to_units: Reals
    """`[2, 3]`: fractional pixels of `rgba`, whose first pixel spans 0 … 1, to units."""

    def tinted(self, colour: tuple[float, float, float]) -> "Sprite":
        """The same with red, green and blue multiplied."""
        product = np.rint(self.rgba * np.array([*colour, 1.0])).clip(0, 255)
        return Sprite(rgba=product.astype(np.uint8), to_units=self.to_units)


class Board:
    """A board on which opaque and half-opaque layers are painted one over the other.

    Args:
        left, top, right, bottom: What it spans, in units.
        px: Pixels a unit in the sprite that comes off it.
    """

    def __init__(self, left: float, top: float, right: float, bottom: float, *, px: int) -> None:
        self._size = (max(1, round((right - left) * px)), max(1, round((bottom - top) * px)))
        self._px, self._fine, self._at = px, px * _OVERSAMPLING, (left, top)
        height, width = self._size[1] * _OVERSAMPLING, self._size[0] * _OVERSAMPLING
        columns = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / self._fine + np.float32(left)
        rows = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / self._fine + np.float32(top)
        self.x, self.y = np.meshgrid(columns, rows)
        """`[H, W]`: units."""
        self._rgb = np.zeros((height, width, 3), np.float32)
        self._opacity = np.zeros((height, width), np.float32)

    def filled(self, outline: ArrayLike) -> Floats:
        """`[H, W]`, 1 inside an outline `[N, 2]`, with smooth edges."""
        return self._drawn(lambda canvas, points: cv2.fillPoly(canvas, [points], (255,), cv2.LINE_AA, 4), outline)

    def stroke(self, points: ArrayLike, width: float) -> Floats:
        """`[H, W]`, 1 on an open line `[N, 2]` with round ends."""
        whole = max(1, round(width * self._fine))
        return self._drawn(
            lambda canvas, line: cv2.polylines(canvas, [line], False, (255,), whole, cv2.LINE_AA, 4), points
        )

    def ellipse(self, x: float, y: float, a: float, b: float) -> Floats:
        """`[H, W]`, 1 within an upright ellipse with half axes `a` and `b`."""
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return self.filled(np.stack([x + a * np.cos(turn), y + b * np.sin(turn)], 1))

    def blurred(self, field: Floats, sigma: float) -> Floats:
        """`field` smoothed over `sigma` units."""
        wide = max(sigma * self._fine, 0.3)
        coarser = max(1, int(wide / 3))
        size = (math.ceil(field.shape[1] / coarser), math.ceil(field.shape[0] / coarser))
        small = cv2.resize(field, size, interpolation=cv2.INTER_AREA) if coarser > 1 else field
        smooth: Floats = cv2.GaussianBlur(small, (0, 0), wide / coarser, borderType=cv2.BORDER_REPLICATE)
        return cv2.resize(smooth, field.shape[::-1], interpolation=cv2.INTER_CUBIC) if coarser > 1 else smooth

    def shade(self, height: Floats) -> Floats:
        """How brightly a relief, `height` in units towards us, is lit; about 1 where it is flat."""
        down, across = np.gradient(height, 1 / self._fine)
        facing = (-across * _LAMP[0] - down * _LAMP[1] + _LAMP[2]) / np.sqrt(1 + across**2 + down**2)
        return np.asarray(0.45 + 0.55 * np.maximum(facing, 0) / _LAMP[2], np.float32)

    def noise(self, sigma: float, seed: int) -> Floats:
        """`[H, W]`, of mean 0 and deviation 1, smooth over `sigma` units."""
        step = max(1.0, sigma * self._fine)
        height, width = (math.ceil(length / step) + 1 for length in self.x.shape)
        rough = cv2.GaussianBlur(raw_noise(height, width, seed), (0, 0), 0.8)
        field = cv2.resize(rough, self.x.shape[::-1], interpolation=cv2.INTER_CUBIC)
        return np.asarray((field - field.mean()) / (field.std() + 1e-9), np.float32)

    def paint(self, mask: Floats, colour: ArrayLike) -> None:
        """Lay a colour, `[3]` or `[H, W, 3]` of 0 … 255, over what is there, as far as `mask` is opaque."""
        touched = mask > 0
        rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
        if not len(rows):
            return
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shades = np.asarray(colour, np.float32)
        shades = np.clip(shades[part] if shades.ndim == 3 else shades, 0, 255)
        share = mask[part][..., None]
        self._rgb[part] += share * (shades - self._rgb[part])
        self._opacity[part] += mask[part] * (1 - self._opacity[part])

    def cast_shadow(self, mask: Floats, *, reach: float = 0.12, strength: float = 0.4) -> None:
        """Darken what lies around a thing that is going to be painted: a soft shadow, a little below it."""
        shift = np.array([[1, 0, 0.3 * reach * self._fine], [0, 1, 0.7 * reach * self._fine]])
        moved = cv2.warpAffine(mask, shift, mask.shape[::-1])
        self.paint(strength * self.blurred(moved, reach), (0, 0, 0))

    def sprite(self) -> Sprite:
        """What was painted, cut to where it is not clear; something must be."""
        painted = np.dstack([self._rgb, 255 * self._opacity])
        rgba = np.rint(cv2.resize(painted, self._size, interpolation=cv2.INTER_AREA)).astype(np.uint8)
        used = rgba[..., 3] > 0
        (y0, y1), (x0, x1) = (np.flatnonzero(used.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
        scale, (left, top) = 1 / self._px, self._at
        to_units = np.array([[scale, 0, left + scale * x0], [0, scale, top + scale * y0]])
        return Sprite(rgba=np.ascontiguousarray(rgba[y0 : y1 + 1, x0 : x1 + 1]), to_units=to_units)

    def _drawn(self, draw: Callable[[Image, NDArray[np.int32]], object], points: ArrayLike) -> Floats:
        canvas = np.zeros(self.x.shape, np.uint8)
        places = (np.asarray(points, np.float64) - self._at) * self._fine - 0.5
        draw(canvas, np.rint(places * 16).astype(np.int32))
        return np.asarray(canvas, np.float32) / np.float32(255)


def _words(count: int, seed: int) -> NDArray[np.uint64]:
    """NumPy promises the bit generator's raw words for ever, and no more than those."""
    return np.random.Philox(key=np.array([seed, 0x0CC1], np.uint64)).random_raw(count)


def raw_noise(height: int, width: int, seed: int) -> Floats:
    """`[height, width]`, even from 0 to 1, the same on every machine."""
    words = _words(height * width, seed)
    return np.asarray((words >> np.uint64(40)) * 2.0**-24, np.float32).reshape(height, width)


def uniform(count: int, seed: int) -> list[float]:
    """Numbers from 0 to below 1, the same on every machine."""
    numbers: list[float] = ((_words(count, seed) >> np.uint64(11)) * 2.0**-53).tolist()
    return numbers


def spline(points: ArrayLike, count: int = 40) -> Reals:
    """`[count, 2]`: a smooth line through points `[N, 2]`, with its corners rounded."""
    nodes = np.asarray(points, np.float64)
    padded = np.concatenate([2 * nodes[:1] - nodes[1:2], nodes, 2 * nodes[-1:] - nodes[-2:-1]])
    at = np.linspace(0, len(nodes) - 1, count)
    start = np.minimum(at.astype(int), len(nodes) - 2)
    t = (at - start)[:, None]
    a, b, c, d = (padded[start + step] for step in range(4))
    return np.asarray(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3))
