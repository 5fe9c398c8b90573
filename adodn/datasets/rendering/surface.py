"""The lit head on the picture: each pixel's paint, in the light there. Which part it shows is `rasteriser.py`'s.

draw_surface(image, rasterise(pixels, heights, 160), texture, shade(vertices, rotation, light))
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.compiled import compiled
from adodn.datasets.rendering.rasteriser import Raster

Floats: TypeAlias = NDArray[np.float32]
Image: TypeAlias = NDArray[np.uint8]

_HALF, _ONE, _TWO, _WHITE, _SIXTEENTH = (np.float32(value) for value in (0.5, 1, 2, 255, 1 / 16))
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
    _lay_over(image, raster.height, raster.column, raster.row, texture, shading)


@compiled
def _lay_over(image: Image, height: Floats, column: Floats, row: Floats, texture: Image, shading: Floats) -> None:
    """Mix the lit sheet into `image`."""
    detail, cover = np.float32(len(texture) // len(shading)), np.zeros(len(height) + 2, np.float32)
    for y in range(len(height)):
        _cover_down(height, y, cover)
        for x in range(len(height)):
            share = (cover[x] + _TWO * cover[x + 1] + cover[x + 2]) * _SIXTEENTH
            if share == 0:
                continue
            line, place = (y, x) if height[y, x] > -np.inf else _nearest(height, y, x)
            i, j = column[line, place], row[line, place]
            paint = _cell(texture, (i + _HALF) * detail - _HALF, (j + _HALF) * detail - _HALF)
            light = _cell(shading, i, j)
            gloss = _between(shading, light, 3)
            for channel in range(3):
                lit = min(_between(texture, paint, channel) * _between(shading, light, channel) + gloss, _WHITE)
                image[y, x, channel] = np.uint8(share * lit + (_ONE - share) * np.float32(image[y, x, channel]) + _HALF)


@compiled
def _cover_down(height: Floats, y: int, cover: Floats) -> None:
    """How many quarters of a line, softened downwards, the sheet covers; `cover` is one pixel wider on both sides."""
    above, here, below = height[max(y - 1, 0)], height[y], height[min(y + 1, len(height) - 1)]
    for x in range(len(height)):
        around = np.float32(above[x] > -np.inf) + np.float32(below[x] > -np.inf)
        cover[x + 1] = around + _TWO * np.float32(here[x] > -np.inf)
    cover[0], cover[-1] = cover[1], cover[-2]


@compiled
def _nearest(height: Floats, y: int, x: int) -> tuple[int, int]:
    """(y, x) of the neighbour that shows the nearest part of the sheet."""
    best = y, x
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
