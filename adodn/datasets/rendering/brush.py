"""Filled outlines and lines with soft edges, many in one call. Where they lie and what colours they have is told here.

brush(image, np.array([[3.0, 30, 9], [4, 8, 25]]), outlines([3]), [(200, 40, 30, 0.5)])    # a triangle
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.compiled import compiled

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]

_LINES = 4
"""A pixel's height is seen at so many levels; its width exactly."""


class Shapes(NamedTuple):
    """Which of many points make which shape."""

    stops: NDArray[np.int64]
    """`[K]`: first point after each shape's own."""
    widths: Reals
    """`[K]`, pixels: of open lines with round ends; 0 is a filled outline."""


def shapes(counts: Sequence[int], widths: Sequence[float] | None = None) -> Shapes:
    """Shapes of so many points each, one after the other; filled outlines where no widths are given."""
    return Shapes(np.cumsum(counts), np.zeros(len(counts)) if widths is None else np.array(widths, np.float64))


def brush(image: Image, points: NDArray[np.floating], what: Shapes, paints: Floats) -> None:
    """Draw shapes on `image` `[H, W, 3]`, each over those before it.

    Args:
        image: Drawn on.
        points: `[2, N]`, x and y in pixels; a shape with a point that is not finite is left out.
        what: K shapes.
        paints: `[K, 4]`: RGB, 0 … 255, and opacity, 0 … 1.
    """
    height, width = image.shape[:2]
    _brush(image, points, what.stops, what.widths, paints, np.zeros((height, width + 2), np.float32))


@compiled
def _brush(
    image: Image,
    points: NDArray[np.floating],
    stops: NDArray[np.int64],
    widths: Reals,
    paints: Floats,
    cover: Floats,
) -> None:
    """`cover` `[H, W + 2]` is 0 before and after."""
    start = 0
    for k in range(len(stops)):
        part = points[:, start : stops[k]]
        start = stops[k]
        if paints[k, 3] > 0:
            margin = widths[k] / 2 + 0.5
            left, right = _extent(part[0], margin, image.shape[1])
            top, bottom = _extent(part[1], margin, image.shape[0])
            if left < right and top < bottom:
                if widths[k] > 0:
                    _cover_line(cover[:, : image.shape[1]], part, widths[k])
                else:
                    _cover_outline(cover, part)
                _mix_in(image, cover, top, bottom, left, right, paints[k], widths[k] == 0)


@compiled
def _extent(values: NDArray[np.floating], margin: float, size: int) -> tuple[int, int]:
    """First pixel along one axis that a shape can touch, and the one after the last; none if one is not finite."""
    low, high, total = np.inf, -np.inf, 0.0
    for value in values:
        low, high, total = min(low, value), max(high, value), total + abs(value)
    if not total < 1e9:
        return 0, 0
    return max(int(np.floor(low - margin)), 0), min(int(np.ceil(high + margin)) + 1, size)


@compiled
def _cover_outline(cover: Floats, points: NDArray[np.floating]) -> None:
    """Add what, summed up from the left, is the share of each pixel within an outline; below 0 if it runs back."""
    lines, last = _LINES * cover.shape[0], cover.shape[1] - 2.0
    for n in range(points.shape[1]):
        x, y = points[0, n - 1] + 0.5, (points[1, n - 1] + 0.5) * _LINES - 0.5
        end_x, end_y = points[0, n] + 0.5, (points[1, n] + 0.5) * _LINES - 0.5
        slope, share = (end_x - x) / (end_y - y), (1.0 if y < end_y else -1.0) / _LINES
        for line in range(max(int(np.ceil(min(y, end_y))), 0), min(int(np.ceil(max(y, end_y))), lines)):
            across = min(max(x + (line - y) * slope, 0.0), last)
            place = int(across)
            beyond = share * (across - place)
            cover[line // _LINES, place] += share - beyond
            cover[line // _LINES, place + 1] += beyond


@compiled
def _cover_line(cover: Floats, points: NDArray[np.floating], width: float) -> None:
    """Raise `cover` to the share of each pixel that lies on a line."""
    reach = width / 2 + 0.5
    for n in range(1, points.shape[1]):
        x, y = points[0, n - 1], points[1, n - 1]
        dx, dy = points[0, n] - x, points[1, n] - y
        scale = 1 / (dx * dx + dy * dy + 1e-9)
        for line in range(max(int(y + min(dy, 0) - reach), 0), min(int(y + max(dy, 0) + reach) + 1, cover.shape[0])):
            for place in range(
                max(int(x + min(dx, 0) - reach), 0), min(int(x + max(dx, 0) + reach) + 1, cover.shape[1])
            ):
                u, v = place - x, line - y
                along = min(max((u * dx + v * dy) * scale, 0.0), 1.0)
                u, v = u - along * dx, v - along * dy
                share = min(reach - np.sqrt(u * u + v * v), 1.0)
                if share > cover[line, place]:
                    cover[line, place] = share


@compiled
def _mix_in(
    image: Image, cover: Floats, top: int, bottom: int, left: int, right: int, paint: Floats, is_sum: bool
) -> None:
    """Mix `paint` in where there is cover, and clear that; `is_sum` if it is to be summed up from the left."""
    for line in range(top, bottom):
        total = np.float32(0)
        for place in range(left, right):
            total = total + cover[line, place] if is_sum else cover[line, place]
            cover[line, place] = 0
            share = min(abs(total), np.float32(1)) * paint[3]
            if share > 0:
                for channel in range(3):
                    old = np.float32(image[line, place, channel])
                    image[line, place, channel] = np.uint8(old + share * (paint[channel] - old) + np.float32(0.5))
        cover[line, right : right + 2] = 0
