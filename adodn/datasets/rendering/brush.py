"""Filled outlines and lines with soft edges, many in one call. What they stand for is not known here.

triangle, half_red = np.array([[3.0, 30, 9], [4, 8, 25]]), np.array([[200, 40, 30, 0.5]], np.float32)
brush(image, triangle, shapes([3]), half_red)
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
_CLEAR, _SOLID = np.float32(0.002), np.float32(0.998)
"""Opacities from which on a pixel stays as it is, or becomes all paint."""


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
    _brush(image, points, what.stops, what.widths, paints)


def mark(mask: Image, points: NDArray[np.floating], what: Shapes, marked: NDArray[np.bool_]) -> None:
    """Set `mask` `[H, W]` to 255 where a shape that is to be `marked` `[K]` covers at least half of a pixel."""
    _mark(mask, points, what.stops, what.widths, marked)


@compiled
def _brush(image: Image, points: NDArray[np.floating], stops: NDArray[np.int64], widths: Reals, paints: Floats) -> None:
    for k in range(len(stops)):
        if paints[k, 3] > 0:
            part = points[:, stops[k - 1] if k else 0 : stops[k]]
            left, top, cover = _cover(part, widths[k], image.shape[1], image.shape[0])
            _mix_in(image[top:, left:], cover, paints[k])


@compiled
def _mark(
    mask: Image, points: NDArray[np.floating], stops: NDArray[np.int64], widths: Reals, marked: NDArray[np.bool_]
) -> None:
    for k in range(len(stops)):
        if marked[k]:
            part = points[:, stops[k - 1] if k else 0 : stops[k]]
            left, top, cover = _cover(part, widths[k], mask.shape[1], mask.shape[0])
            for line in range(cover.shape[0]):
                for place in range(cover.shape[1]):
                    if abs(cover[line, place]) >= np.float32(0.5):
                        mask[top + line, left + place] = 255


@compiled
def _cover(points: NDArray[np.floating], width: float, size_x: int, size_y: int) -> tuple[int, int, Floats]:
    """First column and line that a shape can touch, and its share of each pixel from there on, perhaps negative."""
    left, right = _extent(points[0], width, size_x)
    top, bottom = _extent(points[1], width, size_y)
    cover = np.zeros((max(bottom - top, 0), max(right - left, 0) + 2), np.float32)
    if width > 0:
        _cover_line(cover, points, width, left, top)
    else:
        _cover_outline(cover, points, left, top)
    return left, top, cover[:, :-2]


@compiled
def _extent(values: NDArray[np.floating], width: float, size: int) -> tuple[int, int]:
    """First pixel along one axis that a shape can touch, and the one after the last; none if one is not finite."""
    low, high, total = np.inf, -np.inf, 0.0
    for value in values:
        low, high, total = min(low, value), max(high, value), total + abs(value)
    if not total < np.inf:
        return 0, 0
    return int(max(low - width, 0.0)), int(min(high + width + 2.0, np.float64(size)))


@compiled
def _cover_outline(cover: Floats, points: NDArray[np.floating], left: int, top: int) -> None:
    """The share of each pixel within an outline; negative if that runs backwards.

    First, in each pixel the change of that against the one to its left: every edge adds to what is on its right.
    """
    lines, last = _LINES * cover.shape[0], cover.shape[1] - 2.0
    for n in range(points.shape[1]):
        x, y = points[0, n - 1] + 0.5 - left, (points[1, n - 1] + 0.5 - top) * _LINES - 0.5
        end_x, end_y = points[0, n] + 0.5 - left, (points[1, n] + 0.5 - top) * _LINES - 0.5
        slope, share = (end_x - x) / (end_y - y), (1.0 if y < end_y else -1.0) / _LINES
        first, stop = max(min(y, end_y), 0.0), min(max(y, end_y), np.float64(lines))
        for line in range(int(np.ceil(first)), int(np.ceil(stop))):
            across = min(max(x + (line - y) * slope, 0.0), last)
            place = int(across)
            beyond = share * (across - place)
            cover[line // _LINES, place] += share - beyond
            cover[line // _LINES, place + 1] += beyond
    for line in range(cover.shape[0]):
        for place in range(1, cover.shape[1]):
            cover[line, place] += cover[line, place - 1]


@compiled
def _cover_line(cover: Floats, points: NDArray[np.floating], width: float, left: int, top: int) -> None:
    """The share of each pixel that lies on a line."""
    reach = width / 2 + 0.5
    height, wide = np.float64(cover.shape[0]), np.float64(cover.shape[1])
    for n in range(1, points.shape[1]):
        x, y = points[0, n - 1] - left, points[1, n - 1] - top
        dx, dy = points[0, n] - left - x, points[1, n] - top - y
        scale = 1 / (dx * dx + dy * dy + 1e-9)
        for line in range(int(max(y + min(dy, 0.0) - reach, 0.0)), int(min(y + max(dy, 0.0) + reach + 1, height))):
            for place in range(int(max(x + min(dx, 0.0) - reach, 0.0)), int(min(x + max(dx, 0.0) + reach + 1, wide))):
                u, v = place - x, line - y
                along = min(max((u * dx + v * dy) * scale, 0.0), 1.0)
                u, v = u - along * dx, v - along * dy
                cover[line, place] = max(cover[line, place], np.float32(min(reach - np.sqrt(u * u + v * v), 1.0)))


@compiled
def _mix_in(image: Image, cover: Floats, paint: Floats) -> None:
    """Mix `paint` into the part of `image` that `cover` is for."""
    for line in range(cover.shape[0]):
        for place in range(cover.shape[1]):
            share = min(abs(cover[line, place]), np.float32(1)) * paint[3]
            if share > _SOLID:
                for channel in range(3):
                    image[line, place, channel] = np.uint8(paint[channel])
            elif share > _CLEAR:
                for channel in range(3):
                    old = np.float32(image[line, place, channel])
                    image[line, place, channel] = np.uint8(old + share * (paint[channel] - old) + np.float32(0.5))
