"""Geometry and colour against numbers by hand, NumPy formulas and SciPy."""

import math

import numpy as np
import pytest
from scipy import ndimage

from adodn.config import AugmentConfig
from adodn.data.transforms import (
    _GOLDEN,
    Augmentation,
    _mixed,
    adjust_colours,
    crop_affine,
    draw_augmentation,
    invert,
    move,
    sample_draws,
    stored_to_image,
    warp,
)

BOX = np.array([10.0, 20.0, 50.0, 40.0])


def place(augmentation: Augmentation, x: float, y: float) -> list[float]:
    """Where a stored point lies in the crop; the box's centre is (30, 30), the crop's side 40."""
    return move(np.array([x, y]), invert(crop_affine(BOX, crop_scale=1.0, augmentation=augmentation))).tolist()


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(), (0.75, 0.625)),
        (Augmentation(scale=2.0), (1.0, 0.75)),
        (Augmentation(shift_x=0.25, shift_y=-0.125), (1.0, 0.5)),
        (Augmentation(flip=True), (0.25, 0.625)),
        (Augmentation(rotation=math.pi / 2), (0.375, 0.75)),
        (Augmentation(rotation=math.pi / 2, scale=2.0, shift_x=0.0625, flip=True), (0.6875, 1.0)),
    ],
)
def test_a_point_goes_where_paper_and_pencil_say(augmentation: Augmentation, expected: tuple[float, float]) -> None:
    """A point 10 px right of and 5 px below the centre of a 40 px crop goes where the definition says."""
    assert place(augmentation, 40.0, 35.0) == pytest.approx(expected, abs=1e-12)


def test_inversion_agrees_with_linear_algebra() -> None:
    """`invert` is the inverse of the homogeneous matrix."""
    affine = np.array([[3.0, 0.5, -7.0], [-1.0, 2.0, 11.0]])
    expected = np.linalg.inv(np.vstack([affine, (0, 0, 1)]))[:2]
    np.testing.assert_allclose(invert(affine), expected, atol=1e-14)


def test_the_way_to_the_original_is_the_records_formula() -> None:
    """Image pixel = scale · (stored pixel + 0.5) + (x, y) - 0.5."""
    affine = np.array([[3.0, 0.5, -7.0], [-1.0, 2.0, 11.0]])
    stored = move(np.array([0.3, 0.8]), affine)
    expected = 2.5 * (stored + 0.5) + (100, 200) - 0.5
    np.testing.assert_allclose(move(np.array([0.3, 0.8]), stored_to_image(affine, np.array([2.5, 100, 200]))), expected)


def test_the_whole_image_is_its_own_crop() -> None:
    """A crop over exactly the image, at its own size, is the image to the last bit."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    out = np.empty_like(image)
    warp(image, crop_affine(np.array([-0.5, -0.5, 31.5, 31.5]), crop_scale=1.0, augmentation=Augmentation()), out)
    assert np.array_equal(out, image)


def test_warping_agrees_with_scipy() -> None:
    """The warp is bilinear with black outside: SciPy's result, but for OpenCV's rounding of weights."""
    image = np.empty((60, 80, 3), np.uint8)
    image[:] = ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 255, (60, 80, 3)), (2, 2, 0)) + 60
    chosen = Augmentation(rotation=0.4, scale=1.1, shift_x=0.1, shift_y=-0.05, flip=True)
    affine = crop_affine(np.array([10.0, 5, 70, 58]), crop_scale=1.3, augmentation=chosen)
    out = np.empty((64, 64, 3), np.uint8)
    warp(image, affine, out)
    y, x = np.mgrid[:64, :64]
    source = move((np.stack([x, y], axis=-1) + 0.5) / 64, affine)
    for channel in range(3):
        expected = ndimage.map_coordinates(
            image[..., channel].astype(float), [source[..., 1], source[..., 0]], order=1, mode="grid-constant"
        )
        assert np.abs(out[..., channel] - expected).max() < 4
        assert np.abs(out[..., channel] - expected).mean() < 0.5


@pytest.mark.parametrize("shrink", [2, 3, 4])
def test_shrinking_averages_areas(shrink: int) -> None:
    """A crop that shrinks k times is the image's means over k by k areas."""
    image = np.random.default_rng(shrink).integers(0, 256, (16 * shrink, 16 * shrink, 3), dtype=np.uint8)
    edge = 16 * shrink - 0.5
    out = np.empty((16, 16, 3), np.uint8)
    warp(image, crop_affine(np.array([-0.5, -0.5, edge, edge]), crop_scale=1.0, augmentation=Augmentation()), out)
    expected = image.reshape(16, shrink, 16, shrink, 3).mean(axis=(1, 3))
    assert np.abs(out - expected).max() <= 0.5 + 1e-6


def test_colours_follow_their_formula() -> None:
    """Brightness, then contrast about the mean luma, then saturation about each luma, to the next level."""
    image = np.random.default_rng(0).integers(60, 180, (8, 8, 3), dtype=np.uint8)
    luma = (image * np.array([0.299, 0.587, 0.114])).sum(axis=-1, keepdims=True)
    bright, mean = 1.2 * image, 1.2 * luma.mean()
    contrast = 0.8 * bright + 0.2 * mean
    contrast_luma = 0.8 * 1.2 * luma + 0.2 * mean
    expected = 0.7 * contrast + 0.3 * contrast_luma
    adjust_colours(image, brightness=1.2, contrast=0.8, saturation=0.7)
    assert np.abs(image - expected).max() < 1
    assert np.abs(image - expected).mean() < 0.3


def test_no_change_of_colour_changes_nothing() -> None:
    """The identity leaves every value as it is."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    before = image.copy()
    adjust_colours(image, brightness=1.0, contrast=1.0, saturation=1.0)
    assert np.array_equal(image, before)


def test_draws_stay_in_their_ranges() -> None:
    """Over many faces each draw fills the range that the config gives it, and never leaves it."""
    drawn = draw_augmentation(AugmentConfig(), sample_draws(0, 0, np.arange(2000)))
    ranges = {
        "rotation": (-math.radians(30), math.radians(30)),
        "scale": (0.8, 1.2),
        "brightness": (0.7, 1.3),
        "contrast": (0.7, 1.3),
        "saturation": (0.7, 1.3),
    }
    for name, (least, most) in ranges.items():
        values = getattr(drawn, name)
        assert least <= min(values) < least + 0.01 * (most - least)
        assert most - 0.01 * (most - least) < max(values) <= most
    assert abs(np.mean(drawn.flip) - 0.5) < 0.05


def test_a_batch_is_its_faces_one_by_one() -> None:
    """Affines, their inverses and moved points of a batch are those of each face alone."""
    boxes = BOX + np.array([[0, 0, 0, 0], [3, 1, 9, 30]])
    points = np.random.default_rng(0).uniform(0, 60, (2, 5, 2))
    chosen = draw_augmentation(AugmentConfig(), sample_draws(1, 2, np.array([4, 7])))
    affines = crop_affine(boxes, crop_scale=1.3, augmentation=chosen)
    for face, index in enumerate((4, 7)):
        alone = draw_augmentation(AugmentConfig(), sample_draws(1, 2, np.array([index])))
        affine = crop_affine(boxes[face : face + 1], crop_scale=1.3, augmentation=alone)[0]
        np.testing.assert_array_equal(affines[face], affine)
        np.testing.assert_allclose(invert(affines)[face], invert(affine), rtol=1e-14)
        np.testing.assert_allclose(move(points, affines)[face], move(points[face], affine), rtol=1e-14)
        record_map = np.array([[2.0, 3, 4], [1.5, 6, 7]])
        expected = stored_to_image(affine, record_map[face])
        np.testing.assert_allclose(stored_to_image(affines, record_map)[face], expected, rtol=1e-14)


def test_random_numbers_are_splitmix64() -> None:
    """The generator's published first words for the seed 1234567 come out of its mixing function."""
    words = _mixed(np.array([1234567], np.uint64) + _GOLDEN * np.arange(1, 4, dtype=np.uint64))
    assert words.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_every_face_and_epoch_has_its_own_numbers() -> None:
    """No two of several seeds, epochs and faces share their first draws."""
    firsts = {draw for s in range(3) for e in range(3) for draw in sample_draws(s, e, np.arange(100))[:, 0].tolist()}
    assert len(firsts) == 900
