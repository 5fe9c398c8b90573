"""The command line, where it needs no server: `predict` and `export` on a folder of model files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from adodn import models
from adodn.cli import build
from adodn.commands.shard import open_raw
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data import images
from adodn.model_files import write_model
from adodn.occlusion.patterns import Patterns
from adodn.predict import Predictor
from tests.unit.test_cofw68 import points, write_tree

CONFIG = ExperimentConfig(
    name="tiny", model=ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1)
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of model files."""
    torch.manual_seed(0)
    write_model(tmp_path / "model", models.build(CONFIG.model).state_dict(), CONFIG)
    return tmp_path / "model"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG of coloured noise."""
    path = tmp_path / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    path.write_bytes(images.encode(pixels, quality=95))
    return path


def test_predict_says_what_the_predictor_says(model: Path, photo: Path) -> None:
    """One answer for each box, in their order, as JSON and as lines of x y; the picture is a JPEG that can be read."""
    boxes = [(10.0, 12.0, 60.0, 70.0), (-5.0, 20.0, 119.0, 89.0)]
    words = ["predict", str(model), str(photo), "--box", "10,12,60,70", "--box", "-5,20,119,89"]
    picture = photo.with_name("drawn.jpg")
    pixels = images.decode(photo.read_bytes(), "photo")

    as_json = CliRunner().invoke(build("predict"), [*words, "--json", "--out", str(picture)])
    as_lines = CliRunner().invoke(build("predict"), words)

    expected = np.stack([face.landmarks for face in Predictor.load(model)([pixels, pixels], boxes)])
    assert as_json.exit_code == 0, as_json.output
    np.testing.assert_allclose(json.loads(as_json.stdout)["faces"], expected, atol=1e-9)
    printed = [line.split() for line in as_lines.stdout.splitlines() if line]
    np.testing.assert_allclose(np.array(printed, dtype=float).reshape(2, 68, 2), expected, atol=0.005 + 1e-9)
    assert images.decode(picture.read_bytes(), "picture").shape[0] > 200


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "50,10,40,60", "1,nan,2,3"])
def test_a_box_that_is_none_is_refused(model: Path, photo: Path, box: str) -> None:
    """The message shows the form and what was given, and nothing is written."""
    done = CliRunner().invoke(build("predict"), ["predict", str(model), str(photo), "--box", box, "--out", "no.jpg"])

    assert done.exit_code == 2
    assert box in done.output
    assert not Path("no.jpg").exists()


def test_export_writes_what_predictor_reads(model: Path, tmp_path: Path) -> None:
    """The exported folder holds equal weights and config, and says their hashes."""
    done = CliRunner().invoke(build("registry"), ["export", str(model), str(tmp_path / "out"), "--json"])

    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)) == {"weights.safetensors", "config.json"}
    for name in ("weights.safetensors", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


def test_patterns_are_written_and_read_back(tmp_path: Path) -> None:
    """The file holds the flags of the annotated faces that have a hidden point, and nothing else is left behind."""
    write_tree(tmp_path / "cofw68", range(1, 6))
    out = tmp_path / "patterns.json"
    ran = CliRunner().invoke(build("patterns", "predict"), ["patterns", str(tmp_path / "cofw68"), str(out)])
    assert ran.exit_code == 0, ran.output
    flags = np.concatenate([points(number)["Occ"] for number in range(1, 6)]) == 1
    assert np.array_equal(Patterns.from_json(out.read_bytes(), "out").hidden, flags)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cofw68", "patterns.json"]


def test_a_protocol_is_a_word_also_as_an_option() -> None:
    """`--option protocol=29` names what `--protocol 29` names; other numbers are numbers."""
    for option, protocol in ((["source=synthetic", "num_train=3", "protocol=29"], ""), (["num_train=3"], "29")):
        raw = open_raw("mapped", None, option, protocol)
        assert raw.protocol.name == "29"
        assert sum(ref.split == "train" for ref in raw.index()) == 3
