"""Which part of a sheet of vertices every pixel shows: a z-buffer over its triangles. No colours here.

raster = rasterise(pixels, heights, 160)  # of the vertices, from `Camera.project`
raster.column[y, x], raster.row[y, x]  # the place on the sheet that the centre of pixel (x, y) shows
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.compiled import compiled

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

_HIDDEN_MM = 7.0
"""A landmark this much behind the surface that covers it counts as hidden; less is the mesh's own coarseness."""
_ON_EDGE = 1e-9
"""An edge belongs to the triangles on both its sides, so that rounding leaves no gap between them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Raster:
    """What the centre of every pixel of an S × S image shows of a sheet."""

    height: Floats
    """`[S, S]`: towards the camera, as the vertices have it; -inf where the sheet is not."""
    column: Floats
    """`[S, S]`: fractional column of the sheet; -1 where the sheet is not."""
    row: Floats
    """`[S, S]`: fractional row of the sheet; -1 where the sheet is not."""


def rasterise(pixels: Floats, heights: Floats, size_px: int) -> Raster:
    """Draw the front of a sheet: the side from which its rows run clockwise from its columns.

    Args:
        pixels: `[2, C, R]`, where the vertices land; a mesh with a corner that is not finite may be left out.
        heights: `[C, R]`, of the vertices towards the camera.
        size_px: Side of the square image.
    """
    planes = np.empty((3, size_px, size_px), np.float32)
    planes[0], planes[1:] = -np.inf, -1
    height, column, row = planes
    _draw_sheet(pixels, heights, height, column, row)
    return Raster(height=height, column=column, row=row)


class _Triangle(NamedTuple):
    """A vertex and its neighbours one step along the columns and along the rows; a height of -inf is not drawn."""

    column: float
    row: float
    step: float
    """Of the sheet: the vertex's place, and which neighbours: 1 the next ones, -1 those before."""
    x: float
    y: float
    height: float
    column_x: float
    column_y: float
    row_x: float
    row_y: float
    """Steps along the columns and along the rows for a pixel to the right and for one down."""
    column_rise: float
    row_rise: float
    """Height gained with a step."""


@compiled
def _triangle(pixels: Floats, heights: Floats, i: int, j: int, step: int) -> _Triangle:
    """The triangle of vertex (i, j); not drawn if it is seen from behind or edge-on, or not finite."""
    x, y, z = np.float64(pixels[0, i, j]), np.float64(pixels[1, i, j]), np.float64(heights[i, j])
    xc, yc, zc = pixels[0, i + step, j] - x, pixels[1, i + step, j] - y, heights[i + step, j] - z
    xr, yr, zr = pixels[0, i, j + step] - x, pixels[1, i, j + step] - y, heights[i, j + step] - z
    area = xc * yr - yc * xr
    if not (area > 0 and area + abs(z) + abs(zc) + abs(zr) < np.inf):
        return _Triangle(0.0, 0.0, 0.0, 0.0, 0.0, -np.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    vertex = np.float64(i), np.float64(j), np.float64(step), x, y, z
    return _Triangle(*vertex, yr / area, -xr / area, -yc / area, xc / area, zc, zr)


@compiled
def _at(triangle: _Triangle, place: int, line: int) -> tuple[float, float, float]:
    """Height, column and row at a pixel; the height is -inf outside the triangle."""
    dx, dy = place - triangle.x, line - triangle.y
    along_column, along_row = dx * triangle.column_x + dy * triangle.column_y, dx * triangle.row_x + dy * triangle.row_y
    inside = min(along_column, along_row, 1 - along_column - along_row) >= -_ON_EDGE
    height = triangle.height + along_column * triangle.column_rise + along_row * triangle.row_rise
    column, row = triangle.column + triangle.step * along_column, triangle.row + triangle.step * along_row
    return height if inside else -np.inf, column, row


@compiled
def _pixels_of(corners: Floats, size: int) -> tuple[int, int]:
    """First pixel between `corners` `[2, 2]` of one axis, and the one after the last; none if one is not finite."""
    low = min(corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1])
    high = max(corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1])
    if not (low <= size and high >= 0):
        return 0, 0
    return int(np.ceil(max(low, 0))), int(np.floor(min(high, size - 1))) + 1


@compiled
def _draw_sheet(pixels: Floats, heights: Floats, height: Floats, column: Floats, row: Floats) -> None:
    """Draw both triangles of every mesh of the sheet; whichever is nearer stays."""
    columns, rows = heights.shape
    for i in range(columns - 1):
        for j in range(rows - 1):
            first, second = _triangle(pixels, heights, i, j, 1), _triangle(pixels, heights, i + 1, j + 1, -1)
            if max(first.height, second.height) == -np.inf:
                continue
            mesh = pixels[:, i : i + 2, j : j + 2]
            left, right = _pixels_of(mesh[0], len(height))
            top, bottom = _pixels_of(mesh[1], len(height))
            for line in range(top, bottom):
                for place in range(left, right):
                    above, u, v = _at(first, place, line)
                    if above == -np.inf:
                        above, u, v = _at(second, place, line)
                    if above > height[line, place]:
                        height[line, place], column[line, place], row[line, place] = above, u, v


def seen(raster: Raster, covered: NDArray[np.uint8], landmarks: Reals, heights: Reals) -> NDArray[np.bool_]:
    """`[N]`: True where neither an occluder nor a surface that is well in front hides a landmark.

    One of the sixteen pixels around it without such a surface is enough, since outlines run between pixels, and where
    one bulges its landmark may lie up to a pixel within.

    Args:
        raster: What each pixel shows.
        covered: `[S, S]`, above 0 where an occluder is.
        landmarks: `[N, 2]`, pixels.
        heights: `[N]`, of the landmarks towards the camera.
    """
    visible = np.empty(len(landmarks), np.bool_)
    _see(raster.height, covered, landmarks, heights + _HIDDEN_MM, visible)
    return visible


@compiled
def _see(
    height: Floats, covered: NDArray[np.uint8], landmarks: Reals, limits: Reals, visible: NDArray[np.bool_]
) -> None:
    """Fill `visible`; outside the picture no occluder covers anything."""
    last = len(height) - 1
    for n in range(len(landmarks)):
        left, top = int(np.floor(landmarks[n, 0])), int(np.floor(landmarks[n, 1]))
        farthest = np.inf
        for line in range(top - 1, top + 3):
            for place in range(left - 1, left + 3):
                farthest = min(farthest, height[min(max(line, 0), last), min(max(place, 0), last)])
        x, y = int(np.rint(landmarks[n, 0])), int(np.rint(landmarks[n, 1]))
        inside = 0 <= x <= last and 0 <= y <= last
        visible[n] = farthest <= limits[n] and not (inside and covered[y, x] > 0)
