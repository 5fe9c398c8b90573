"""The lit head on the picture: each pixel's paint, in the light there. Which part it shows is `rasteriser.py`'s.

draw_surface(image, rasterise(pixels, heights, 160), texture, shade(vertices, rotation, light))
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.compiled import compiled
from adodn.datasets.rendering.rasteriser import Raster

Floats: TypeAlias = NDArray[np.float32]
Image: TypeAlias = NDArray[np.uint8]

_HALF, _ONE, _WHITE = np.float32(0.5), np.float32(1), np.float32(255)
"""Of single precision, which is twice as fast here."""
_Cell: TypeAlias = tuple[int, int, np.float32, np.float32, np.float32, np.float32]


def draw_surface(image: Image, raster: Raster, texture: Image, shading: Floats) -> None:
    """Lay a sheet over `image` with soft edges.

    Args:
        image: `[S, S, 3]`, drawn on.
        raster: What each pixel shows of the sheet.
        texture: `[C · D, R · D, 3]`, colours of the sheet.
        shading: `[C, R, 4]`, at each vertex: factors of the colours, and gloss to be added.
    """
    weight = cv2.GaussianBlur((raster.height > -np.inf).astype(np.float32), (3, 3), 0.7)
    _lay_over(image, weight, raster.height, raster.column, raster.row, texture, shading)


@compiled
def _lay_over(
    image: Image, weight: Floats, height: Floats, column: Floats, row: Floats, texture: Image, shading: Floats
) -> None:
    """Mix the lit sheet into `image` by `weight` `[S, S]`, which ends one pixel outside the sheet."""
    detail = np.float32(len(texture) // len(shading))
    for y in range(len(height)):
        for x in range(len(height)):
            share = weight[y, x]
            if share == 0:
                continue
            line, place = _shown(height, y, x)
            i, j = column[line, place], row[line, place]
            paint = _cell(texture, (i + _HALF) * detail - _HALF, (j + _HALF) * detail - _HALF)
            light = _cell(shading, i, j)
            gloss = _between(shading, light, 3)
            for channel in range(3):
                lit = min(_between(texture, paint, channel) * _between(shading, light, channel) + gloss, _WHITE)
                image[y, x, channel] = np.uint8(share * lit + (_ONE - share) * np.float32(image[y, x, channel]) + _HALF)


@compiled
def _shown(height: Floats, y: int, x: int) -> tuple[int, int]:
    """(y, x) of the pixel itself or, where it does not show the sheet, of its neighbour that shows the nearest part."""
    best = y, x
    if height[y, x] > -np.inf:
        return best
    for line in range(max(y - 1, 0), min(y + 2, len(height))):
        for place in range(max(x - 1, 0), min(x + 2, len(height))):
            if height[line, place] > height[best]:
                best = line, place
    return best


@compiled
def _cell(table: NDArray[np.generic], first: np.float32, second: np.float32) -> _Cell:
    """The cell of `table` `[A, B, K]` that holds fractional indices, and the weights of its corners there."""
    i = max(min(int(first), table.shape[0] - 2), 0)
    j = max(min(int(second), table.shape[1] - 2), 0)
    a, b = first - np.float32(i), second - np.float32(j)
    both = a * b
    return i, j, _ONE - a - b + both, b - both, a - both, both


@compiled
def _between(table: NDArray[np.generic], cell: _Cell, channel: int) -> np.float32:
    """One channel of `table` `[A, B, K]`, interpolated from the corners of a cell."""
    i, j, own, right, below, across = cell
    upper = np.float32(table[i, j, channel]) * own + np.float32(table[i, j + 1, channel]) * right
    lower = np.float32(table[i + 1, j, channel]) * below + np.float32(table[i + 1, j + 1, channel]) * across
    return np.float32(upper + lower)
