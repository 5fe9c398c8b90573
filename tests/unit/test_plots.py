"""Pictures are read back: colours where points are, one tile a face, curves that reach the edge."""

import dataclasses
import io
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from adodn import plots
from adodn.evaluate import face_errors, gather
from adodn.protocols import get
from tests.unit.test_evaluate import make_batch

GREY = np.full((100, 100, 3), 90, dtype=np.uint8)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def greener(image: np.ndarray) -> np.ndarray:
    return image[..., 1] - image[..., [0, 2]].max(axis=-1) > 60


def magenta(image: np.ndarray) -> np.ndarray:
    return image[..., [0, 2]].min(axis=-1) - image[..., 1] > 60


def test_points_are_drawn_where_they_are() -> None:
    """The middle of green lies at the truth and that of magenta at the prediction, scaled with the tile."""
    face = plots.ShownFace(image=GREY, caption="", truth=np.array([[20.0, 30.0]]), prediction=np.array([[70.0, 80.0]]))
    sheet = pixels(plots.face_sheet({"x": [face]}))[40:]  # below the title with its legend
    whole = pixels(plots.contact_sheet([GREY], [np.array([[20.0, 30.0]])]))
    zoom = 256 / 100

    green_y, green_x = np.argwhere(greener(whole)).mean(axis=0)
    apart = np.argwhere(magenta(sheet)).mean(axis=0) - np.argwhere(greener(sheet)).mean(axis=0)
    assert (green_x - 6, green_y) == pytest.approx((20.5 * zoom - 0.5, 30.5 * zoom - 0.5), abs=1)
    assert apart.tolist() == pytest.approx([50 * zoom, 50 * zoom], abs=1.5)


def test_a_sheet_has_a_row_a_title_and_a_tile_a_face() -> None:
    """Rows may differ in length; the widest sets the width, and a row without faces is left out."""
    face = plots.ShownFace(image=GREY, caption="1.00 %  a-very-long-key-that-cannot-possibly-fit-under-one-tile")
    one, two = (pixels(plots.face_sheet(rows)).shape for rows in ({"a": [face] * 3}, {"a": [face] * 3, "b": [face]}))

    assert one[1] == two[1] == 6 + 3 * 262
    assert two[0] == 2 * one[0]
    assert pixels(plots.face_sheet({"a": [face] * 3, "b": []})).shape == one


def test_points_far_outside_the_image_are_harmless() -> None:
    """A diverged prediction is drawn off the tile, not as an overflow on it."""
    face = plots.ShownFace(image=GREY, caption="", prediction=np.array([[1e9, -1e9], [-1e12, 5.0]]))

    assert not magenta(pixels(plots.face_sheet({"x": [face]}))[40:]).any()


def test_the_error_sheet_draws_points_on_their_crop() -> None:
    """A prediction at a quarter of the crop is drawn at a quarter of the tile, though known in original pixels."""
    truth = torch.tensor([50.0, 60.0]).expand(1, 68, 2).clone()
    truth[:, 45] = torch.tensor([90.0, 60.0])
    batch = dataclasses.replace(
        make_batch(0, 1),
        crop_to_image=torch.tensor([[[100.0, 0, 10], [0, 100, 20]]]),
        image_landmarks=truth.double(),
    )
    predict = partial(torch.full, (1, 68, 2), 0.25)
    errors = face_errors(lambda images: predict(), [batch], get("68"), "outer_eye_corners")

    sheet = pixels(plots.error_sheet(errors, gather([batch], errors.keys), count=1))

    best = sheet[34 : 34 + 256, 6 : 6 + 256]
    assert np.argwhere(magenta(best)).mean(axis=0) == pytest.approx([63.5, 63.5], abs=1)
    with pytest.raises(ValueError, match="'face-0' is not among them"):
        gather([make_batch(1, 1)], errors.keys)


def test_contact_sheets_take_images_of_any_shape() -> None:
    """Tall, wide and tiny images each get a tile; a last row that is not full stays dark."""
    images = [np.full(shape, 255, dtype=np.uint8) for shape in ((50, 20, 3), (20, 50, 3), (1, 1, 3))]
    sheet = pixels(plots.contact_sheet(images, columns=2))

    assert sheet.shape[:2] == (2 * 262, 6 + 2 * 262)
    assert sheet[262 + 128, 6 + 128].min() > 250  # the tiny one, in the second row
    assert sheet[262 + 128, 6 + 262 + 128].max() < 50


def test_the_ced_figure_rises_to_the_right() -> None:
    """For errors all at 2 %, the curve is flat, jumps at a fifth of the axis, and stays on top."""
    image = pixels(plots.ced_figure({"one": [0.02] * 5}, "outer_eye_corners"))
    blue = (image[..., 2] - image[..., 0] > 100) & (image[..., 2] > 120)
    # the tallest column of blue is the jump; the topmost row is the plateau
    jump = int(blue.sum(axis=0).argmax())
    top = np.flatnonzero(blue[: image.shape[0] // 4].any(axis=0))

    assert top.min() == pytest.approx(jump, abs=3)
    assert (jump - np.flatnonzero(blue.any(axis=0)).min()) / (top.max() - np.flatnonzero(blue.any(axis=0)).min()) == (
        pytest.approx(0.2, abs=0.01)
    )


def test_histories_with_gaps_are_drawn() -> None:
    """An epoch that lacks a metric, or has infinity, leaves a gap; panels are shared by quantity."""
    history = [{"train/loss": 1.0, "val/loss": 2.0}, {"train/loss": float("inf")}, {"train/loss": 0.01, "lr": 1e-3}]
    wide, narrow = (pixels(plots.history_figure(part)) for part in (history, history[:2]))

    assert wide.shape[1] == 2 * narrow.shape[1]


def test_a_spectrum_falls_to_the_right_with_its_effective_rank() -> None:
    """Of 40 equal values and 60 that are nothing beside them, the curve is flat up to the dots and falls there."""
    image = pixels(plots.spectrum_figure({"one": [1.0] * 40 + [1e-9] * 60}))
    blue = (image[..., 2] - image[..., 0] > 100) & (image[..., 2] > 120)
    upper = blue[: image.shape[0] * 2 // 3]  # the legend is below
    dotted = int(upper.sum(axis=0).argmax())
    flat = np.flatnonzero(upper[: image.shape[0] // 6].any(axis=0))

    assert flat.max() == pytest.approx(dotted, abs=4)
    assert flat.max() - flat.min() > image.shape[1] / 4
    assert not upper[:, dotted + 12 :].any()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.ced_figure({}, "pupils"),
        lambda: plots.ced_figure({"a": []}, "pupils"),
        lambda: plots.history_figure([]),
        lambda: plots.spectrum_figure({}),
        lambda: plots.spectrum_figure({"a": []}),
        lambda: plots.face_sheet({"best": []}),
        lambda: plots.contact_sheet([]),
        lambda: plots.contact_sheet([GREY], []),
    ],
)
def test_nothing_to_draw_is_an_error(draw: object) -> None:
    """An empty picture is never returned."""
    assert callable(draw)
    with pytest.raises(ValueError, match=r"at least one|needs its landmarks"):
        draw()


def test_sheets_are_jpeg_and_figures_png() -> None:
    """Bytes are what their name says, so that a browser shows them."""
    assert cv2.imdecode(np.frombuffer(plots.contact_sheet([GREY]), np.uint8), cv2.IMREAD_COLOR) is not None
    assert plots.contact_sheet([GREY])[:3] == b"\xff\xd8\xff"
    assert plots.ced_figure({"a": [0.1]}, "pupils")[:8] == b"\x89PNG\r\n\x1a\n"
