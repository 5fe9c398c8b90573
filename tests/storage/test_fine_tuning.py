"""`adodn train --from-model`, up to where Ray would begin, on a real S3.

pytest tests/storage/test_fine_tuning.py
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from adodn import datasets, models, protocols, recipes, settings
from adodn.cli import build
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.model_files import WEIGHTS, write_model
from adodn.occlusion.patterns import Patterns
from adodn.train.initial import put_by_digest, start_from_weights

pytestmark = pytest.mark.integration


@pytest.fixture
def dataset_uri(s3: S3Store, s3_folder: str) -> str:
    """A few rendered faces of 68 landmarks."""
    faces = datasets.open("synthetic", num_train=6, num_val=2, num_common=2, num_challenging=2, size_px=64)
    return shard_dataset(faces, s3, s3_folder, ImagePolicy())[0]


def model_folder(folder: Path, protocol: str) -> tuple[Path, dict[str, torch.Tensor], str]:
    """A model of the smoke recipe on disk, its weights and their sha256."""
    config = recipes.adodn_smoke().with_fields({"model.protocol": protocol})
    torch.manual_seed(7)
    state = models.build(config.model).state_dict()
    return folder, state, write_model(folder, state, config)[WEIGHTS]


def dry_run(dataset_uri: str, source: str, *words: str) -> Any:
    command = ["train", "--recipe", "adodn_smoke", "--dataset", dataset_uri, "--from-model", source, "--dry-run"]
    return CliRunner().invoke(build("train"), [*command, *words])


def test_a_model_is_known_by_its_digest_and_taken_over(
    s3: S3Store, places: settings.Settings, dataset_uri: str, tmp_path: Path
) -> None:
    """The experiment names the sha256 of the file, a worker starts from those weights, and damage is refused."""
    folder, state, sha256 = model_folder(tmp_path / "model", "68")

    done = dry_run(dataset_uri, str(folder))

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["train"]["initial_model"] == sha256
    put_by_digest((folder / WEIGHTS).read_bytes(), s3, places.weights_uri)
    config = recipes.adodn_smoke().with_fields({"train.initial_model": sha256})
    network = models.build(config.model)
    start_from_weights(network, config, s3, places.weights_uri)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())

    other = hashlib.sha256(b"other").hexdigest()
    s3.put(f"{places.weights_uri}/{other}", s3.get(f"{places.weights_uri}/{sha256}"))
    with pytest.raises(CheckpointError, match="its name says otherwise"):
        start_from_weights(network, config.with_fields({"train.initial_model": other}), s3, places.weights_uri)


def test_what_stays_random_is_said(places: settings.Settings, dataset_uri: str, tmp_path: Path) -> None:
    """A model of 29 landmarks lends all but its output layer, which is named where people look."""
    folder, _, _ = model_folder(tmp_path / "model", "29")

    done = dry_run(dataset_uri, str(folder))

    assert done.exit_code == 0, done.output
    assert "of another protocol than '68'; head.fc.bias, head.fc.weight start at random" in done.stderr


def test_a_dry_run_uploads_nothing(
    s3: S3Store, places: settings.Settings, dataset_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of no file; it says by what digest each would be known."""
    folder, _, weights = model_folder(tmp_path / "model", "68")
    visible = np.arange(2 * 68).reshape(2, 68) > 20
    content = Patterns.measured(protocols.get("68"), visible, np.zeros((2, 68, 2))).to_json().encode()
    (tmp_path / "patterns.json").write_bytes(content)
    monkeypatch.setattr(S3Store, "put", lambda *words, **known: pytest.fail("the dry run uploads a file"))

    tuned = dry_run(dataset_uri, str(folder))
    words = ["train", "--recipe", "adodn_smoke", "--dataset", dataset_uri, "--weights", str(folder / WEIGHTS)]
    words += ["--patterns", str(tmp_path / "patterns.json"), "--dry-run"]
    begun = CliRunner().invoke(build("train"), words)

    assert json.loads(tuned.stdout)["train"]["initial_model"] == weights
    said = json.loads(begun.stdout)
    assert said["model"]["initial_weights"] == weights
    assert said["data"]["augment"]["occlusion_patterns"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("source", ["no-such-run", "folder"])
def test_what_does_not_fit_or_exist_is_one_error(
    places: settings.Settings, dataset_uri: str, tmp_path: Path, source: str
) -> None:
    """Before anything is trained or uploaded."""
    if source == "folder":
        source = str(model_folder(tmp_path / "model", "68")[0])

    done = dry_run(dataset_uri, source, "--set", "model.rank_width=32")

    assert isinstance(done.exception, CheckpointError)
    assert source in str(done.exception)
