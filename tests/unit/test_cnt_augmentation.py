"""Shear and box corners of the CNT paper's augmentation: geometry by hand, and pixels that move with landmarks.

pytest tests/unit/test_cnt_augmentation.py
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adodn.config import AugmentConfig, ExperimentConfig
from adodn.data.transforms import (
    Augmentation,
    crop_affine,
    draw_augmentation,
    invert,
    move,
    sample_draws,
    warp,
)
from adodn.errors import ConfigError

BOX = np.array([[10.0, 20.0, 50.0, 40.0]])
EVERYTHING = AugmentConfig(rotation_deg=25, shear=0.2, box_jitter=0.15)


def place(augmentation: Augmentation, x: float, y: float) -> list[float]:
    """Where a stored point lies in the crop; the box's centre is (30, 30), the crop's side 40."""
    found: list[float] = move(
        np.array([[[x, y]]]), invert(crop_affine(BOX, crop_scale=1.0, augmentation=augmentation))
    )[0, 0].tolist()
    return found


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(shear=0.2), (0.775, 0.625)),
        (Augmentation(shear=0.2, flip=True), (0.225, 0.625)),
        (Augmentation(shear=0.2, rotation=math.pi / 2), (0.375, 0.775)),
        (Augmentation(shear=0.2, scale=2.0, shift_x=0.1, shift_y=0.05), (1.15, 0.8)),
        (Augmentation(corners=np.array([[0.1, 0.0, 0.1, 0.0]])), (0.65, 0.625)),
        (Augmentation(corners=np.array([[0.0, -0.5, 0.0, 0.5]])), (0.75, 0.625)),
        (Augmentation(corners=np.array([[-0.5, 0.0, 0.5, 0.0]])), (0.625, 0.5625)),
    ],
)
def test_a_point_goes_where_paper_and_pencil_say(augmentation: Augmentation, expected: tuple[float, float]) -> None:
    """A point 10 px right of and 5 px below the centre goes where shear and moved corners send it."""
    assert place(augmentation, 40.0, 35.0) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(index=st.integers(0, 10**6), side=st.floats(60, 300))
def test_landmarks_follow_their_pixels(index: int, side: float) -> None:
    """A bright dot drawn at a landmark lies where the landmark then is, under all the paper's changes at once."""
    input_px, centre = 96, np.array([260.3, 255.8])
    landmark = centre + side * np.array([0.08, -0.05])
    y, x = np.mgrid[:520, :520]
    sigma = 3.5 * side / input_px
    dot = 255 * np.exp(-((x - landmark[0]) ** 2 + (y - landmark[1]) ** 2) / (2 * sigma**2))
    image = np.repeat(np.rint(dot).astype(np.uint8)[..., None], 3, axis=-1)
    box = np.array([[*(centre - side / 2), *(centre + side / 2)]])
    chosen = draw_augmentation(EVERYTHING, sample_draws(0, 0, np.array([index])))
    affine = crop_affine(box, crop_scale=1.3, augmentation=chosen)[0]
    out = np.empty((input_px, input_px, 3), np.uint8)
    warp(image, affine, out)
    weight = out[..., 0].astype(float)
    rows, columns = np.mgrid[:input_px, :input_px]
    found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    assert math.dist(found, move(landmark, invert(affine)) * input_px - 0.5) < 0.1


def test_draws_fill_their_ranges() -> None:
    """Shear and every corner fill the range that the config gives them, never leave it, and go their own ways."""
    drawn = draw_augmentation(EVERYTHING, sample_draws(0, 0, np.arange(4000)))
    values = np.column_stack([np.asarray(drawn.shear) / 0.2, np.asarray(drawn.corners) / 0.15])
    assert values.shape == (4000, 5)
    assert (np.abs(values) <= 1).all()
    assert (values.min(0) < -0.98).all() and (values.max(0) > 0.98).all()
    others = np.column_stack([np.asarray(drawn.rotation), np.asarray(drawn.scale), np.asarray(drawn.shift_x)])
    together = np.corrcoef(np.column_stack([values, others]).T) - np.eye(8)
    assert np.abs(together).max() < 0.06


def test_other_settings_draw_what_they_drew_before() -> None:
    """Turning shear and corners on changes no other draw, and off they do nothing."""
    draws = sample_draws(3, 1, np.arange(50))
    plain, more = draw_augmentation(AugmentConfig(rotation_deg=25), draws), draw_augmentation(EVERYTHING, draws)
    for name in ("rotation", "scale", "shift_x", "shift_y", "flip", "brightness", "contrast", "saturation"):
        assert np.array_equal(getattr(plain, name), getattr(more, name))
    assert not np.any(plain.shear) and not np.any(plain.corners)
    assert place(Augmentation(shear=0.0, corners=np.zeros((1, 4))), 40.0, 35.0) == place(Augmentation(), 40.0, 35.0)


@pytest.mark.parametrize(("field", "value"), [("shear", -0.1), ("shear", 1.5), ("box_jitter", 0.5)])
def test_a_range_without_sense_is_refused(field: str, value: float) -> None:
    """A negative or too large range is refused when the config is read; a box could turn inside out."""
    with pytest.raises(ConfigError, match=field):
        ExperimentConfig(name="x").with_fields({f"data.augment.{field}": value})
