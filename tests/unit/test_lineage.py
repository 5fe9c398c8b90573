"""Where a chain begins, and how it reads, without a server: files of predictions, exported folders, steps of a chain.

pytest tests/unit/test_lineage.py
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from adodn import models, provenance, settings
from adodn.cli import build
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data import images
from adodn.errors import CheckpointError, ConfigError, DataError
from adodn.lineage import Chain, trace
from adodn.lineage.beginning import begin
from adodn.lineage.links import broken, unverified, verified
from adodn.model_files import read_model, write_model
from adodn.model_origin import ORIGIN, ModelOrigin
from adodn.predict import FacePrediction
from adodn.predictions import Predictions
from tests.ports import free_ports

TINY = ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1)
CONFIG = ExperimentConfig(name="tiny", model=TINY).with_fields({"data.dataset": "d" * 64})
ORIGIN_68 = ModelOrigin(
    source="registry",
    model="models:/adodn-68/3",
    run_id="1" * 32,
    fingerprint=CONFIG.fingerprint(),
    sha256={"weights.safetensors": "2" * 64, "config.json": "3" * 64},
)
FACES = [FacePrediction(landmarks=np.array([[1.5, 2.25], [-3.0, 1e-7]]))]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[settings.Settings]:
    """Settings whose servers do not run."""
    monkeypatch.setenv("ADODN_HOME", str(tmp_path / "home"))
    ports = free_ports()
    monkeypatch.setenv("ADODN_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{ports.mlflow}")
    monkeypatch.setenv("ADODN_S3_ENDPOINT_URL", f"http://127.0.0.1:{ports.s3}")
    settings.get.cache_clear()
    yield settings.get()
    settings.get.cache_clear()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of model files that says where it came from."""
    folder = tmp_path / "model"
    torch.manual_seed(0)
    digests = write_model(folder, models.build(CONFIG.model).state_dict(), CONFIG)
    (folder / ORIGIN).write_text(replace(ORIGIN_68, sha256=digests).to_json())
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG of coloured noise."""
    path = tmp_path / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    path.write_bytes(images.encode(pixels, quality=95))
    return path


@pytest.fixture
def saved(model: Path, photo: Path) -> Path:
    """A file of predictions beside its photo."""
    out = photo.with_name("predictions.json")
    words = ["predict", str(model), str(photo), "--box", "10,12,60,70", "--save", str(out)]
    done = CliRunner().invoke(build("predict"), words)
    assert done.exit_code == 0, done.output
    return out


def test_predictions_name_model_photo_and_code(model: Path, photo: Path, saved: Path) -> None:
    """By hashes of the very bytes that were used; what `--json` prints is what `--save` writes."""
    said = Predictions.from_json(saved.read_bytes(), "saved")

    sha256 = {name: hashlib.sha256((model / name).read_bytes()).hexdigest() for name in ("weights.safetensors",)}
    assert said.model.sha256.items() >= sha256.items()
    assert said.model.model == "models:/adodn-68/3"
    assert said.image.sha256 == hashlib.sha256(photo.read_bytes()).hexdigest()
    assert said.code.commit == provenance.git_commit()
    assert (said.boxes, len(said.faces), len(said.faces[0])) == (((10.0, 12.0, 60.0, 70.0),), 1, 68)
    printed = CliRunner().invoke(
        build("predict"), ["predict", str(model), str(photo), "--box", "10,12,60,70", "--json"]
    )
    assert json.loads(printed.stdout) == json.loads(saved.read_text())
    assert sorted(path.name for path in saved.parent.iterdir() if path.is_file()) == ["photo.jpg", "predictions.json"]


def test_predictions_need_a_folder(model: Path, photo: Path, tmp_path: Path) -> None:
    """It is told before any work is done."""
    save = tmp_path / "no" / "predictions.json"
    words = ["predict", str(model), str(photo), "--box", "10,12,60,70", "--save", str(save)]
    done = CliRunner().invoke(build("predict"), words)
    assert (done.exit_code, "there is no folder" in " ".join(done.output.replace("│", " ").split())) == (2, True)


def test_predictions_are_read_back() -> None:
    """To the last bit of every coordinate."""
    made = Predictions.of(ORIGIN_68, b"image", "photo.jpg", [(0.1, 0.2, 3.0, 4.0)], FACES)
    assert Predictions.from_json(made.to_json(), "made") == made


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_other_json_is_no_file_of_predictions(value: object) -> None:
    """One error that names the file, whatever it holds."""
    with pytest.raises(DataError, match=r"^here: not a prediction file"):
        Predictions.from_json(json.dumps(value), "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", {"model": "models:/adodn-68@champion"}),
        ("model", {"run_id": "; rm -rf"}),
        ("model", {"checkpoint": "/etc/passwd"}),
        ("model", {"sha256": {"weights.safetensors": "no hash"}}),
        ("model", {"fingerprint": ""}),
        ("image", {"sha256": "x"}),
        ("image", {"extra": 1}),
        ("boxes", [[1, 2, 3]]),
        ("faces", [[[1, 2, 3]]]),
        ("format", 2),
        ("more", 1),
    ],
)
def test_a_file_of_predictions_is_strict(field: str, value: object) -> None:
    """An alias is no version, a path no address; the error names the field."""
    made = json.loads(Predictions.of(ORIGIN_68, b"image", "photo.jpg", [(0, 0, 1, 1)], FACES).to_json())
    made[field] = {**made[field], **value} if isinstance(value, dict) else value

    with pytest.raises(DataError, match=f"here: not a prediction file of this adodn: {field}"):
        Predictions.from_json(json.dumps(made), "here")


def states(chain: Chain) -> dict[str, str]:
    return {link.step: link.state for link in chain.links}


def test_without_servers_a_chain_says_what_it_cannot_tell(nowhere: settings.Settings, saved: Path) -> None:
    """The photo beside the file is verified, nothing is broken, and each other step says why."""
    chain = trace(str(saved), nowhere)

    assert states(chain) == {
        "prediction": "verified",
        "model": "not verifiable here",
        "run": "not verifiable here",
        "config": "not verifiable here",
        "code": "not verifiable here",
        "dataset": "not verifiable here",
    }
    assert "could not be reached" in chain.links[1].why
    assert chain.broken == ()


def test_a_folder_leads_on_by_its_config(nowhere: settings.Settings, model: Path) -> None:
    """Its files have the hashes of origin.json; the dataset is named, and why it is not followed."""
    chain = trace(str(model), nowhere)

    assert states(chain)["folder"] == "verified"
    assert states(chain)["config"] == "verified"
    [dataset] = [link for link in chain.links if link.step == "dataset"]
    assert (dataset.state, dataset.facts["digest"]) == ("not verifiable here", "d" * 64)


def test_another_photo_under_the_name_is_a_broken_link(nowhere: settings.Settings, saved: Path, photo: Path) -> None:
    """Both hashes are said, and the command's exit code is 1; without the photo there is nothing to say."""
    before = hashlib.sha256(photo.read_bytes()).hexdigest()
    photo.write_bytes(b"another")

    done = CliRunner().invoke(build("lineage"), ["lineage", str(saved), "--quick"])
    photo.unlink()
    gone = CliRunner().invoke(build("lineage"), ["lineage", str(saved), "--json"])

    assert done.exit_code == 1
    assert f"broken: it is of photo.jpg with sha256 {before}, but beside it lies one with" in done.stdout
    assert gone.exit_code == 0, gone.output
    assert json.loads(gone.stdout)["links"][0]["state"] == "not verifiable here"


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
def test_a_doctored_folder_is_refused_and_broken(nowhere: settings.Settings, model: Path, name: str) -> None:
    """By its own origin.json, before any weight is used; deleting that file hides it, and leads nowhere."""
    content = (model / name).read_bytes()
    changed = content.replace(b'"seed":0', b'"seed":1') if name == "config.json" else content[:-1] + b"\x7f"
    (model / name).write_bytes(changed)
    assert changed != content

    with pytest.raises(CheckpointError, match=rf"sha256 of {name} must be \w+, got \w+"):
        read_model(model)
    chain = trace(str(model), nowhere)
    assert states(chain)["folder"] == "broken"
    (model / ORIGIN).unlink()
    read_model(model)
    assert states(trace(str(model), nowhere))["folder"] == "not verifiable here"


def test_an_exported_folder_says_where_it_came_from(model: Path, tmp_path: Path) -> None:
    """A copy of a copy still names the registered model, and has the hashes of its own files."""
    done = CliRunner().invoke(build("registry"), ["export", str(model), str(tmp_path / "copy"), "--json"])

    assert done.exit_code == 0, done.output
    beginning = begin(str(tmp_path / "copy"))
    assert beginning.origin is not None
    assert beginning.origin.model == "models:/adodn-68/3"
    assert beginning.links[0].state == "verified"
    assert json.loads(done.stdout).items() <= beginning.origin.sha256.items()


def test_new_weights_do_not_keep_an_old_origin(model: Path) -> None:
    """Who writes another model into the folder does not inherit what it said."""
    write_model(model, {"a": torch.zeros(1)}, CONFIG)
    assert not (model / ORIGIN).exists()


def test_an_origin_is_read_back() -> None:
    """And anything else refused."""
    assert ModelOrigin.from_json(ORIGIN_68.to_json(), "here") == ORIGIN_68
    with pytest.raises(CheckpointError, match="here: does not say where a model came from"):
        ModelOrigin.from_json("{}", "here")


@pytest.mark.parametrize(
    ("what", "field", "value"),
    [
        ("models:/adodn-68/3", "model", "models:/adodn-68/3"),
        ("adodn-68@champion", "model", "models:/adodn-68@champion"),
        ("0123456789abcdef" * 2, "run", "0123456789abcdef" * 2),
        ("adodn_smoke-0a1b2c3d4e5f", "run", "adodn_smoke-0a1b2c3d4e5f"),
    ],
)
def test_names_are_told_apart(what: str, field: str, value: str) -> None:
    """Versions, aliases and runs, without asking a server."""
    assert getattr(begin(what), field) == value


@pytest.mark.parametrize("what", ["", "no/such/file", "gone.json", "x/" * 5000, "nul\0/"])
def test_what_is_nothing_is_one_error(what: str) -> None:
    """The message lists what it may be."""
    with pytest.raises(ConfigError, match="lineage begins at a file of `adodn predict --save`"):
        begin(what)


def test_a_file_that_is_no_prediction_is_one_error(tmp_path: Path) -> None:
    """A photo, for instance."""
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"a\.jpg: not a prediction file"):
        begin(str(tmp_path / "a.jpg"))


def test_a_name_gives_no_commands_to_the_terminal() -> None:
    """Escape sequences and marks that turn the direction of text are shown, and JSON reads back."""
    evil = "\x1b[2J\u202eexe\nmodel"
    chain = Chain(what=evil, links=(verified("run", evil, evil, lines=(evil,)), broken("code", "x", "y")))

    assert all(letter.isprintable() or letter == "\n" for letter in chain.text())
    assert len(chain.text().splitlines()) == 5
    read = json.loads(chain.to_json())
    assert (read["what"], read["broken"], read["links"][0]["subject"]) == (evil, ["code"], evil)


def test_only_what_does_not_hold_is_broken() -> None:
    """What cannot be verified here is not."""
    links = (verified("run", "a", "b"), unverified("code", "a", "b"), broken("shards", "a", "b"))
    assert [link.step for link in Chain(what="x", links=links).broken] == ["shards"]


def test_a_commit_is_asked_of_the_repository_of_the_code() -> None:
    """Its own last commit is there, none of zeros is, and nothing that git could take for an option is asked."""
    root = Path(provenance.__file__).parent
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode or os.environ.get("ADODN_GIT_COMMIT"):
        pytest.skip("this code lies in no git repository")

    assert provenance.has_commit(head.stdout.strip())
    assert provenance.has_commit("0" * 40) is False
    for word in ("--help", head.stdout.strip()[:12], "HEAD", ""):
        with pytest.raises(ValueError, match="a commit is 40 hex digits"):
            provenance.has_commit(word)
