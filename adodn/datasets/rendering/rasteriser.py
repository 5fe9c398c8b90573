"""Which part of a sheet of vertices every pixel shows: a z-buffer over its triangles. No colours here.

raster = rasterise(pixels, heights, 160)  # of the vertices, from `Camera.project`
raster.column[y, x], raster.row[y, x]  # the place on the sheet that the centre of pixel (x, y) shows
"""

from dataclasses import dataclass
from typing import TypeAlias

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
        pixels: `[2, C, R]`, where the vertices land; a triangle with a corner that is not finite is left out.
        heights: `[C, R]`, of the vertices towards the camera.
        size_px: Side of the square image.
    """
    raster = Raster(
        height=np.full((size_px, size_px), -np.inf, np.float32),
        column=np.full((size_px, size_px), -1, np.float32),
        row=np.full((size_px, size_px), -1, np.float32),
    )
    _draw_sheet(pixels, heights, raster.height, raster.column, raster.row)
    return raster


@compiled
def _draw_triangle(
    pixels: Floats,
    heights: Floats,
    corner: tuple[int, int],
    step: int,
    height: Floats,
    column: Floats,
    row: Floats,
) -> None:
    """Draw the triangle of a vertex and its neighbours one `step` along the columns and along the rows."""
    i, j = corner
    x, y, z = np.float64(pixels[0, i, j]), np.float64(pixels[1, i, j]), np.float64(heights[i, j])
    xc, yc, zc = pixels[0, i + step, j] - x, pixels[1, i + step, j] - y, heights[i + step, j] - z
    xr, yr, zr = pixels[0, i, j + step] - x, pixels[1, i, j + step] - y, heights[i, j + step] - z
    area = xc * yr - yc * xr
    if not (area > 0 and area + abs(z) + abs(zc) + abs(zr) < np.inf):  # seen from behind or edge-on, or not finite
        return
    column_x, column_y, row_x, row_y = yr / area, -xr / area, -yc / area, xc / area
    last = len(height) - 1.0
    left, right = max(np.ceil(x + min(0.0, xc, xr)), 0.0), min(np.floor(x + max(0.0, xc, xr)), last)
    top, bottom = max(np.ceil(y + min(0.0, yc, yr)), 0.0), min(np.floor(y + max(0.0, yc, yr)), last)
    for line in range(int(top), int(bottom) + 1):
        for place in range(int(left), int(right) + 1):
            dx, dy = place - x, line - y
            along_column, along_row = dx * column_x + dy * column_y, dx * row_x + dy * row_y
            if min(along_column, along_row, 1 - along_column - along_row) < -_ON_EDGE:
                continue
            above = z + along_column * zc + along_row * zr
            if above > height[line, place]:
                height[line, place] = above
                column[line, place] = i + step * along_column
                row[line, place] = j + step * along_row


@compiled
def _draw_sheet(pixels: Floats, heights: Floats, height: Floats, column: Floats, row: Floats) -> None:
    """Draw both triangles of every mesh of the sheet; whichever is nearer stays."""
    columns, rows = heights.shape
    for i in range(columns - 1):
        for j in range(rows - 1):
            _draw_triangle(pixels, heights, (i, j), 1, height, column, row)
            _draw_triangle(pixels, heights, (i + 1, j + 1), -1, height, column, row)


def seen(raster: Raster, covered: NDArray[np.uint8], landmarks: Reals, heights: Reals) -> NDArray[np.bool_]:
    """`[N]`: True where neither an occluder nor a surface that is well in front hides a landmark.

    One of the nine pixels around it without such a surface is enough, since outlines run between pixels.

    Args:
        raster: What each pixel shows.
        covered: `[S, S]`, above 0 where an occluder is.
        landmarks: `[N, 2]`, pixels.
        heights: `[N]`, of the landmarks towards the camera.
    """
    visible = np.empty(len(landmarks), np.bool_)
    _see(raster.height, covered, np.rint(landmarks).astype(np.intp), heights + _HIDDEN_MM, visible)
    return visible


@compiled
def _see(
    height: Floats, covered: NDArray[np.uint8], places: NDArray[np.intp], limits: Reals, visible: NDArray[np.bool_]
) -> None:
    """Fill `visible`; `places` `[N, 2]` are (x, y) of pixels and may lie outside the picture, which covers nothing."""
    last = len(height) - 1
    for n in range(len(places)):
        x, y = places[n]
        farthest = np.inf
        for line in range(y - 1, y + 2):
            for place in range(x - 1, x + 2):
                farthest = min(farthest, height[min(max(line, 0), last), min(max(place, 0), last)])
        inside = 0 <= x <= last and 0 <= y <= last
        visible[n] = farthest <= limits[n] and not (inside and covered[y, x] > 0)
