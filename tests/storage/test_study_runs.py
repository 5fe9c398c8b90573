"""Each training measured once on the test split, and the command of a study that is finished, on a real S3.

pytest tests/storage/test_study_runs.py
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adodn import datasets, publish, recipes, settings
from adodn.cli import build
from adodn.config import ExperimentConfig
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import read_manifest, shard_dataset
from adodn.data.store import S3Store
from adodn.errors import StorageError
from adodn.train import checkpoint
from tests.finished_training import leave_behind
from tune.runs import Training, evaluated_once
from tune.studies import STUDIES

pytestmark = pytest.mark.integration


def sharded(s3: S3Store, folder: str, seed: int) -> str:
    faces = datasets.open("synthetic", seed=seed, num_train=4, num_val=2, num_common=2, num_challenging=3, size_px=64)
    return shard_dataset(faces, s3, folder, ImagePolicy())[0]


def on_data(s3: S3Store, uri: str) -> ExperimentConfig:
    manifest = read_manifest(s3, uri)
    return recipes.adodn_smoke().on_dataset(manifest.digest, manifest.landmark_protocol)


def test_a_run_is_measured_once_on_each_dataset(
    s3: S3Store, s3_folder: str, places: settings.Settings, tmp_path: Path
) -> None:
    """Asked again it answers from storage, without its checkpoint; on other faces it would have to measure."""
    uri = sharded(s3, s3_folder, 0)
    outcome = leave_behind(s3, Training.of(on_data(s3, uri), seed=1), places)
    measured = publish.measure(*publish.load_checkpoint(outcome, places), uri, places).report.errors

    first = evaluated_once(outcome, uri, places)
    s3.delete(f"{outcome.checkpoint_uri}/{checkpoint.FILE_NAME}")

    again = evaluated_once(outcome, uri, places)

    assert first.report.errors.nme.tolist() == again.report.errors.nme.tolist() == measured.nme.tolist()
    assert again == first
    with pytest.raises(StorageError):
        evaluated_once(outcome, sharded(s3, s3_folder, 1), places)


def test_a_finished_study_is_told_and_not_trained(
    s3: S3Store, s3_folder: str, places: settings.Settings, tmp_path: Path
) -> None:
    """Each variant is a run of its own; where all are finished the command needs no cluster, and writes its table."""
    uri = sharded(s3, s3_folder, 2)
    words = ["study", "ablation", "--dataset", uri, "--recipe", "adodn_smoke", "--seeds", "1", "--json"]
    listed = CliRunner().invoke(build("study"), [*words, "--dry-run"])
    assert listed.exit_code == 0, listed.output
    assert len(set(json.loads(listed.stdout)["runs"].values())) == 5
    for training in STUDIES["ablation"].trainings(on_data(s3, uri), [0]).values():
        leave_behind(s3, training, places)

    done = CliRunner().invoke(build("study"), [*words, "--subset", "challenging", "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["name"] for row in found["rows"]] == [one.name for one in STUDIES["ablation"].variants]
    assert (found["faces"], found["seeds"]) == (3, [0])
    assert json.loads((tmp_path / "out" / "ablation.json").read_text()) == found
    assert (tmp_path / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")
