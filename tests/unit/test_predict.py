"""The predictor maps a model's fractions back to pixels of the image that it was given."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from adodn import models
from adodn.config import DataConfig, ExperimentConfig, ModelConfig
from adodn.errors import CheckpointError
from adodn.model_files import read_model, write_model
from adodn.predict import Predictor
from adodn.samples import Box

CONFIG = ExperimentConfig(
    name="tiny",
    model=ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1),
    data=DataConfig(crop_scale=1.5),
)


@dataclass
class Answer:
    landmarks: torch.Tensor


class Brightest(torch.nn.Module):
    """Finds the centre of brightness, in crop fractions: a detector with a known answer."""

    def forward(self, images: torch.Tensor) -> Answer:
        weight = images.double().sum(dim=1)
        centres = (torch.arange(images.shape[-1]).double() + 0.5) / images.shape[-1]
        total = weight.sum(dim=(1, 2))
        x = (weight.sum(dim=1) * centres).sum(dim=1) / total
        y = (weight.sum(dim=2) * centres).sum(dim=1) / total
        return Answer(torch.stack([x, y], dim=1)[:, None])


class Corners(torch.nn.Module):
    """Answers with the crop's corners and centre."""

    def forward(self, images: torch.Tensor) -> Answer:
        points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
        return Answer(points.expand(len(images), 3, 2))


def spot(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """A soft round spot of light at (x, y)."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    light = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * radius**2))
    return np.repeat(light[..., None], 3, axis=2).round().astype(np.uint8)


def test_the_crop_is_the_box_grown_about_its_centre() -> None:
    """The square's side is crop_scale times the larger side of the box, in continuous pixels."""
    [face] = Predictor(Corners(), CONFIG)([np.zeros((50, 60, 3), np.uint8)], [(10.0, 20.0, 30.0, 60.0)])

    assert face.landmarks.tolist() == [[-10, 10], [50, 70], [20, 40]]


@pytest.mark.parametrize(
    ("shape", "at", "box", "radius"),
    [
        ((90, 120), (60.3, 41.7), (30.0, 20.0, 90.0, 70.0), 4.0),  # smaller than the model's input: enlarged
        ((600, 800), (431.2, 287.9), (300.0, 200.0, 600.0, 420.0), 20.0),  # shrunk sevenfold
        ((90, 120), (8.0, 9.0), (0.0, 0.0, 20.0, 20.0), 2.0),  # crop reaches out of the image
    ],
)
def test_a_spot_is_found_where_it_is(shape: tuple[int, int], at: tuple[float, float], box: Box, radius: float) -> None:
    """Whatever the scale, the way into the crop and back moves nothing by more than a fraction of a pixel."""
    [face] = Predictor(Brightest(), CONFIG)([spot(*shape, *at, radius)], [box])

    side = 1.5 * max(box[2] - box[0], box[3] - box[1])
    assert face.landmarks[0].tolist() == pytest.approx(at, abs=max(0.1, 0.05 * side / 64))


def test_faces_do_not_influence_each_other() -> None:
    """Forty images of many sizes at once give what each gives alone."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*rng.integers(40, 90, 2), 3), dtype=np.uint8) for _ in range(40)]
    boxes = [(5.0, 5.0, 30.0, 35.0)] * 40
    predictor = Predictor(models.build(CONFIG.model), CONFIG)

    together = predictor(images, boxes)

    for position in (0, 17, 39):
        [alone] = predictor([images[position]], [boxes[position]])
        assert together[position].landmarks == pytest.approx(alone.landmarks, abs=1e-4)
    assert len(together) == 40
    assert predictor([], []) == []


def test_a_folder_round_trips_to_the_last_bit(tmp_path: Path) -> None:
    """Weights and config that were written are those that are loaded, and predict the same."""
    model = models.build(CONFIG.model)
    write_model(tmp_path, model.state_dict(), CONFIG)
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)

    loaded = Predictor.load(tmp_path)

    assert loaded.config == CONFIG
    ours, theirs = (p([image], [(10, 10, 60, 60)])[0].landmarks for p in (loaded, Predictor(model, CONFIG)))
    assert np.array_equal(ours, theirs)
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", "config.json"}


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """A config that does not belong to its weights names the folder."""
    write_model(tmp_path, {"a": torch.zeros(1)}, CONFIG)

    with pytest.raises(CheckpointError, match="weights do not fit the model of their config"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("file", ["weights.safetensors", "config.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04junk", b'{"name": 3}', b"\xff" * 40])
def test_damaged_files_are_refused(tmp_path: Path, file: str, content: bytes | None) -> None:
    """A file that is missing, cut or something else, e.g. a pickle, is one clear error that names the folder."""
    write_model(tmp_path, {"a": torch.zeros(1)}, CONFIG)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)

    with pytest.raises(CheckpointError, match=str(tmp_path)):
        Predictor.load(tmp_path)


def test_a_hash_that_differs_is_named(tmp_path: Path) -> None:
    """One flipped bit in the weights is found where the hash is known."""
    hashes = write_model(tmp_path, {"a": torch.zeros(4)}, CONFIG)
    assert read_model(tmp_path, sha256=hashes)[1] == CONFIG
    damaged = bytearray((tmp_path / "weights.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(damaged)

    with pytest.raises(
        CheckpointError, match=rf"sha256 of weights.safetensors must be {hashes['weights.safetensors']}"
    ):
        read_model(tmp_path, sha256=hashes)


def test_tensors_that_share_memory_can_be_written(tmp_path: Path) -> None:
    """Tied or transposed weights come back by value."""
    base = torch.arange(6.0).view(2, 3)
    write_model(tmp_path, {"a": base, "b": base.T, "c": base}, dataclasses.replace(CONFIG, name="tied"))

    state, _ = read_model(tmp_path)

    assert torch.equal(state["a"], base)
    assert torch.equal(state["b"], base.T)


IMAGE = np.zeros((20, 20, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "box", "message"),
    [
        (IMAGE.astype(np.float32), (0, 0, 9, 9), r"image 0 must be a uint8 array .* got float32 \[20, 20, 3\]"),
        (IMAGE[..., 0], (0, 0, 9, 9), r"image 0 .* got uint8 \[20, 20\]"),
        (np.zeros((0, 5, 3), np.uint8), (0, 0, 9, 9), "image 0 must have pixels"),
        ("face.jpg", (0, 0, 9, 9), "image 0 .* got str"),
        (IMAGE, (5, 5, 5, 9), "box 0 must be x0 y0 x1 y1"),
        (IMAGE, (9, 9, 0, 0), "box 0 must be"),
        (IMAGE, (0, 0, float("nan"), 9), "box 0 must be"),
        (IMAGE, (0, 0, 9), "box 0 must be"),
    ],
)
def test_input_that_makes_no_sense_is_named(image: np.ndarray, box: Box, message: str) -> None:
    """The message says which image or box, the rule, and the value."""
    with pytest.raises(ValueError, match=message):
        Predictor(Corners(), CONFIG)([image], [box])


def test_each_image_needs_its_box() -> None:
    """Lists of different lengths are refused."""
    with pytest.raises(ValueError, match="2 images and 1 boxes"):
        Predictor(Corners(), CONFIG)([IMAGE, IMAGE], [(0, 0, 9, 9)])
