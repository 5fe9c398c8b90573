"""A half-opaque picture laid over a part of a crop, and which landmarks it hides. What is drawn is not decided here.

layer = placed(sprite, matrix, side)
hidden = lay(image, layer, landmarks, gain=0.8)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.occlusion.board import Sprite

Reals: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]

OPAQUE = 128
"""Opacity, of 255, from which a pixel, and a landmark in it, counts as covered."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Pixels for a rectangle of the crop."""

    colours: Image
    """`[h, w, 3]`, already multiplied by the opacity."""
    opacity: Image
    """`[h, w]`."""
    x: int
    y: int
    """Of its top-left pixel in the crop."""


NOTHING = Layer(np.empty((0, 0, 3), np.uint8), np.empty((0, 0), np.uint8), 0, 0)
"""Where a thing falls beside the crop."""


def lay(image: Image, layer: Layer, landmarks: Reals, *, gain: float = 1.0) -> NDArray[np.bool_]:
    """Lay a layer over a crop, in place.

    Args:
        image: `[S, S, 3]`.
        layer: Lies within the crop; may be empty.
        landmarks: `[L, 2]`, fractions of the crop.
        gain: How much brighter the layer's colours become.

    Returns:
        `[L]`, True for landmarks whose pixel is covered; never for those outside the crop.
    """
    height, width = layer.opacity.shape
    if not (height and width):
        return np.zeros(len(landmarks), np.bool_)
    behind = image[layer.y : layer.y + height, layer.x : layer.x + width]
    shown = cv2.cvtColor(cv2.bitwise_not(layer.opacity), cv2.COLOR_GRAY2RGB)
    cv2.multiply(behind, shown, dst=shown, scale=1 / 255)
    cv2.add(shown, cv2.convertScaleAbs(layer.colours, alpha=gain) if gain != 1 else layer.colours, dst=behind)
    return _hidden(layer, landmarks * len(image))


def _hidden(layer: Layer, places: Reals) -> NDArray[np.bool_]:
    height, width = layer.opacity.shape
    x, y = places[:, 0] - layer.x, places[:, 1] - layer.y
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    at = y.astype(np.intp) * width + x.astype(np.intp)
    hidden: NDArray[np.bool_] = inside & (layer.opacity.ravel().take(at, mode="clip") >= OPAQUE)
    return hidden


def placed(sprite: Sprite, matrix: Reals, side: int) -> Layer:
    """A sprite under an affine.

    Args:
        sprite: What to draw.
        matrix: `[2, 3]`: the sprite's units to pixels of the crop, of which the first spans 0 … 1; it can be inverted.
        side: Of the crop, in pixels.
    """
    forward = matrix[:, :2] @ sprite.to_units
    forward[:, 2] += matrix[:, 2]
    height, width = sprite.rgba.shape[:2]
    corners = forward[:, :2] @ np.array([[0, width, 0, width], [0, 0, height, height]]) + forward[:, 2:]
    # One pixel more on each side, for the blur.
    x0, y0 = (max(0, int(np.floor(low)) - 1) for low in corners.min(axis=1).clip(-1, side).tolist())
    x1, y1 = (min(side, int(np.ceil(high)) + 1) for high in corners.max(axis=1).clip(-1, side).tolist())
    if x0 >= x1 or y0 >= y1:
        return NOTHING
    # The nearest pixel and a small blur take little more than half of the time of a bilinear warp, and a drawing needs
    # the blur anyway: edges in photos are never sharp.
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    warped = cv2.blur(cv2.warpAffine(sprite.rgba, _way_back(forward, x0, y0), (x1 - x0, y1 - y0), flags=flags), (3, 3))
    return Layer(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), cv2.extractChannel(warped, 3), x0, y0)


def _way_back(forward: Reals, x0: int, y0: int) -> Reals:
    """`[2, 3]`: whole pixels of the layer to whole pixels of the sprite, whose centres lie half a pixel further."""
    (a, b, x), (c, d, y) = forward.tolist()
    determinant = a * d - b * c
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    left, top = x0 + 0.5 - x, y0 + 0.5 - y
    return np.array([[a, b, a * left + b * top - 0.5], [c, d, c * left + d * top - 0.5]])


def coloured(tile: Image, opacity: Image, first: Sequence[float], second: Sequence[float], x: int, y: int) -> Layer:
    """A texture between two colours, as far as it is opaque.

    Args:
        tile: `[h, w]`, 0 for the first and 255 for the second colour.
        opacity: `[h, w]`.
        first: RGB, 0 … 255.
        second: RGB, 0 … 255.
        x: Column of the layer's top-left pixel in the crop.
        y: Row of it.
    """
    parts = [
        cv2.convertScaleAbs(tile, alpha=(far - near) / 255, beta=near) for near, far in zip(first, second, strict=True)
    ]
    colours = cv2.merge(parts)
    cv2.multiply(colours, cv2.cvtColor(opacity, cv2.COLOR_GRAY2RGB), dst=colours, scale=1 / 255)
    return Layer(colours, opacity, x, y)
