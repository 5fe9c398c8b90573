"""The z-buffer, the light on what it shows, and that the compiled loops keep to their arrays and need no cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adodn
from adodn.datasets.rendering.light import Light, shade
from adodn.datasets.rendering.rasteriser import rasterise, seen
from adodn.datasets.rendering.shape import bilinear, head_sheet
from adodn.datasets.rendering.surface import draw_surface

SIZE = 40
Y, X = np.mgrid[:SIZE, :SIZE]


def grid(columns, rows, low, high):
    """Vertices `[2, C, R]` evenly spread over a square of pixels."""
    x, y = np.linspace(low, high, columns), np.linspace(low, high, rows)
    return np.stack(np.meshgrid(x, y, indexing="ij")).astype(np.float32)


def flat(pixels, height=0.0):
    return np.full(pixels.shape[1:], height, np.float32)


def uneven(seed, turn):
    """A turned square of 9 × 8 vertices, those within it shifted at random; and how far each pixel lies within it."""
    c, s = np.cos(turn), np.sin(turn)
    towards = np.array([[c, -s], [s, c]])
    pixels = grid(9, 8, -14, 14).astype(np.float64)
    pixels[:, 1:-1, 1:-1] += np.random.default_rng(seed).uniform(-0.9, 0.9, (2, 7, 6))
    turned = (towards @ pixels.reshape(2, -1)).reshape(pixels.shape) + 19.7
    back = np.tensordot(towards.T, np.stack([X, Y]) - 19.7, 1)
    return turned.astype(np.float32), 14 - np.abs(back).max(0)


def test_triangle_by_hand():
    """A right triangle of legs 4 covers the 15 pixels on and within it, each at its own place of the sheet."""
    pixels = np.array([[[1, 1], [5, np.nan]], [[1, 5], [1, np.nan]]], np.float32)
    raster = rasterise(pixels, np.array([[10, 30], [20, 0]], np.float32), SIZE)
    inside = (X >= 1) & (Y >= 1) & (X + Y <= 6)
    assert inside.sum() == 15
    np.testing.assert_array_equal(raster.height > -np.inf, inside)
    np.testing.assert_allclose(raster.column[inside], (X[inside] - 1) / 4)
    np.testing.assert_allclose(raster.row[inside], (Y[inside] - 1) / 4)
    np.testing.assert_allclose(raster.height[inside], 10 + (10 * (X[inside] - 1) + 20 * (Y[inside] - 1)) / 4)
    assert (raster.column[~inside] == -1).all() and (raster.row[~inside] == -1).all()


@pytest.mark.parametrize("near", [0, 2])
def test_nearer_hides_farther(near):
    """Of two plates in one place the nearer one is shown, whichever is drawn first."""
    pixels = np.repeat(np.repeat(grid(2, 2, 5, 25), 2, 1)[:, [0, 2, 0, 2]], 1, 2)
    heights = np.full((4, 2), 1, np.float32)
    heights[near : near + 2] = 3
    raster = rasterise(pixels, heights, SIZE)
    inside = (X >= 5) & (X <= 25) & (Y >= 5) & (Y <= 25)
    np.testing.assert_array_equal(raster.height, np.where(inside, 3, -np.inf))
    assert (raster.column[inside] >= near).all() and (raster.column[inside] <= near + 1).all()


def test_back_is_not_drawn():
    """A plate seen from behind shows nothing."""
    pixels = grid(4, 4, 5, 25)
    assert (rasterise(pixels, flat(pixels), SIZE).height == 0).any()
    assert (rasterise(pixels[:, ::-1].copy(), flat(pixels), SIZE).height == -np.inf).all()


def test_edges_on_pixels():
    """Where every edge runs through centres of pixels, each of them still shows exactly its own place."""
    pixels = grid(6, 6, 4, 34)
    raster = rasterise(pixels, flat(pixels), SIZE)
    inside = (X >= 4) & (X <= 34) & (Y >= 4) & (Y <= 34)
    np.testing.assert_array_equal(raster.height > -np.inf, inside)
    np.testing.assert_allclose(raster.column[inside], (X[inside] - 4) / 6, atol=1e-6)
    np.testing.assert_allclose(raster.row[inside], (Y[inside] - 4) / 6, atol=1e-6)


@pytest.mark.parametrize(("across", "down"), [(-20, 0), (20, 0), (0, -20), (0, 20), (-20, 20), (90, 0), (0, -90)])
def test_what_hangs_over_the_side_is_cut_off(across, down):
    """Of a plate beyond the picture, only what lies in the picture is drawn, in its own place."""
    pixels = grid(5, 5, 5, 33) + np.array([across, down], np.float32)[:, None, None]
    x, y = X - across, Y - down
    inside = (x >= 5) & (x <= 33) & (y >= 5) & (y <= 33)
    np.testing.assert_array_equal(rasterise(pixels, flat(pixels), SIZE).height, np.where(inside, 0, -np.inf))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3.1, 3.1), st.floats(-2, 2), st.floats(-2, 2))
def test_no_holes_and_exact_planes(seed, turn, across, down):
    """Every pixel within a mesh of any triangles is covered, none outside, and a plane's heights are met exactly."""
    pixels, depth = uneven(seed, turn)
    heights = 5 + across * pixels[0] + down * pixels[1]
    raster = rasterise(pixels, heights.astype(np.float32), SIZE)
    covered = raster.height > -np.inf
    assert covered[depth > 1e-4].all() and not covered[depth < -1e-4].any()
    np.testing.assert_allclose(raster.height[covered], (5 + across * X + down * Y)[covered], atol=3e-4)
    back = bilinear(pixels, raster.column[covered].astype(float), raster.row[covered].astype(float))
    assert np.abs(back - np.stack([X, Y])[:, covered]).max() < 1.9  # two triangles bend where a bilinear mesh does not


def test_seen_compares_depths():
    """A landmark is hidden where a surface lies more than 7 mm before all 16 pixels around it, and nowhere else."""
    pixels = grid(3, 3, 10, 30)
    raster = rasterise(pixels, flat(pixels, 50.0), SIZE)
    landmarks = np.array([[20, 20], [20, 20], [20, 20], [10.9, 20], [11.1, 20], [3, 3], [-50, 90], [20, 20]])
    heights = np.array([44.0, 42, 60, 0, 0, 0, 0, 50])
    nothing = np.zeros((SIZE, SIZE), np.uint8)
    expected = [True, False, True, True, False, True, True, True]
    np.testing.assert_array_equal(seen(raster, nothing, landmarks, heights), expected)


def test_seen_heeds_occluders():
    """An occluder hides the landmarks whose own pixel it covers, and none outside the picture."""
    pixels = grid(3, 3, 10, 30)
    covered = np.zeros((SIZE, SIZE), np.uint8)
    covered[:, 15:] = covered[0] = 255
    landmarks = np.array([[14.4, 20], [14.6, 20], [39.4, 20], [39.6, 20], [20, -0.6], [20, -0.4], [3, 3]])
    visible = seen(rasterise(pixels, flat(pixels), SIZE), covered, landmarks, np.full(7, 9.0))
    np.testing.assert_array_equal(visible, [True, False, False, True, True, False, True])


def test_light_on_a_plate():
    """Within a plate colours are paint times factor plus gloss, beyond two pixels from it nothing is drawn."""
    pixels = grid(5, 4, 10, 30)
    texture = np.full((15, 12, 3), (100, 60, 200), np.uint8)
    shading = np.broadcast_to(np.array([0.5, 1.5, 1.2, 30], np.float32), (5, 4, 4)).copy()
    image = np.full((SIZE, SIZE, 3), 7, np.uint8)
    draw_surface(image, rasterise(pixels, flat(pixels), SIZE), texture, shading)
    assert (image[11:30, 11:30] == [80, 120, 255]).all()
    outside = (X < 9) | (X > 31) | (Y < 9) | (Y > 31)
    assert (image[outside] == 7).all()
    edge = image[20, [9, 10]].astype(int)
    assert ((edge > 7) & (edge < [80, 120, 255])).all()


def test_texture_and_light_are_spread_evenly():
    """A texture that brightens with the column, in light that brightens with the row, gives their product."""
    pixels, detail = grid(6, 5, 2, 37), 4
    ramp = (np.arange(6 * detail) + 0.5) / detail - 0.5
    texture = np.broadcast_to(np.rint(40 * ramp)[:, None, None].clip(0), (24, 20, 3)).astype(np.uint8)
    shading = np.zeros((6, 5, 4), np.float32)
    shading[..., :3] = np.arange(5)[None, :, None] / 4
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    raster = rasterise(pixels, flat(pixels), SIZE)
    draw_surface(image, raster, texture, shading)
    inner = np.s_[4:35, 6:34]
    expected = 40 * raster.column[inner] * raster.row[inner] / 4
    assert np.abs(image[inner].astype(float) - expected[..., None]).max() < 1.1  # paint and picture are whole numbers


def test_light_from_the_other_side():
    """On the mean head, which is symmetric, a lamp on the other side lights the other half in the same way."""
    vertices, upright = head_sheet().vertices, np.eye(3)

    def lit(side):
        direction = np.array([side, -0.36, 0.48], np.float32)
        tone = np.full(3, 0.5, np.float32)
        return shade(vertices, upright, Light(direction=direction, ambient=tone, lamp=tone, gloss=20.0))

    right = lit(0.8)
    np.testing.assert_allclose(lit(-0.8)[::-1], right, atol=0.03)
    assert right[40, 20, 0] > 1.3 * right[-41, 20, 0]


@settings(max_examples=30, deadline=None)
@given(st.floats(-4, 12), st.floats(-4, 12))
def test_bilinear(first, second):
    """Interpolation meets a product of planes exactly within a table and keeps to its border outside."""
    a, b = np.mgrid[:6, :7]
    table = np.stack([2 + a * b, 3 * a - b]).astype(np.float64)
    u, v = min(max(first, 0), 5), min(max(second, 0), 6)
    values = bilinear(table, np.array([first]), np.array([second]))
    np.testing.assert_allclose(values[:, 0], [2 + u * v, 3 * u - v], atol=1e-9)


_WILD = """
import numpy as np
from adodn.datasets.rendering.rasteriser import rasterise, seen
from adodn.datasets.rendering.scene import render
from adodn.datasets.rendering.surface import draw_surface
rng = np.random.default_rng(0)
odd = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e9, -1e9, -0.5, 0, 39, 39.5, 40, 1e-30], np.float32)
drawn = 0
for _ in range(300):
    planes = np.where(rng.random((3, 5, 4)) < 0.3, rng.choice(odd, (3, 5, 4)), rng.uniform(-9, 49, (3, 5, 4)))
    planes = planes.astype(np.float32)
    raster = rasterise(planes[:2], planes[2], 40)
    assert np.isfinite(raster.column).all() and np.isfinite(raster.row).all()
    assert not (np.isnan(raster.height) | (raster.height == np.inf)).any()
    image = np.zeros((40, 40, 3), np.uint8)
    draw_surface(image, raster, np.ones((15, 12, 3), np.uint8), np.ones((5, 4, 4), np.float32))
    drawn += image.any()
    far = rng.choice([-1e6, 1e6, 39.4, 39.6], (9, 2))
    places = np.where(rng.random((9, 2)) < 0.5, rng.uniform(-9, 49, (9, 2)), far)
    seen(raster, image[..., 0].copy(), places, np.zeros(9))
assert drawn > 100
for size in (64, 96):
    render(0, "challenging", 4, size)
print("done")
"""


def python(code, folder, **environment):
    """Output of a fresh process that takes the library from `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**kept, "PYTHONPATH": str(folder), **environment},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_no_index_leaves_its_array(tmp_path):
    """With indices checked, neither wild vertices nor whole faces read or write outside an array."""
    root = Path(adodn.__file__).parents[1]
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert python(_WILD, root, **checked) == "done\n"


def test_draws_where_nothing_can_be_written(tmp_path):
    """Where the package's folder and the user's cache both refuse files, a face is drawn all the same."""
    package = Path(adodn.__file__).parent
    shutil.copytree(package, tmp_path / "adodn", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path / "adodn").rglob("rendering"):
        (folder / "__pycache__").touch()  # a file in the folder's place refuses root as well
    code = (
        "from adodn.datasets.rendering import scene; print(scene.__file__, scene.render(0, 'val', 0, 64).image.sum())"
    )
    output = python(code, tmp_path, HOME="/dev/null", PYTHONDONTWRITEBYTECODE="1").split()
    assert output[0].startswith(str(tmp_path))
    assert output[1] == python(code, package.parent).split()[1]
    assert not list(tmp_path.rglob("*.nbi"))
