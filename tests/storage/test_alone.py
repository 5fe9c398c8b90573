"""A training in one process, on a real store and a real MLflow database: interrupted, it goes on where it stood.

pytest tests/storage/test_alone.py
"""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from adodn import datasets, recipes, settings
from adodn.config import ExperimentConfig
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import read_manifest, shard_dataset
from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.publish import Outcome, read_outcome
from adodn.train import alone, checkpoint

pytestmark = pytest.mark.integration

EPOCHS = 3
FACES = {"num_train": 32, "num_val": 2, "num_common": 4, "num_challenging": 4, "size_px": 80}


class Interrupted(Exception):
    """What a test throws into a training."""


@pytest.fixture
def where(places: settings.Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> settings.Settings:
    """The settings, with MLflow in a file of the test's own."""
    monkeypatch.setenv("ADODN_MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings.get.cache_clear()
    return settings.get()


@pytest.fixture
def uri(s3: S3Store, where: settings.Settings) -> str:
    raw = datasets.open("synthetic", None, **FACES)
    made, _ = shard_dataset(raw, s3, where.datasets_uri, ImagePolicy())
    return made


@pytest.fixture
def config(s3: S3Store, uri: str) -> ExperimentConfig:
    manifest = read_manifest(s3, uri)
    base = recipes.adodn_smoke().with_fields({"train.epochs": EPOCHS})
    return base.on_dataset(manifest.digest, manifest.landmark_protocol)


def run_of(outcome: Outcome, where: settings.Settings) -> Any:
    return MlflowClient(where.mlflow_tracking_uri).get_run(outcome.tracking_run_id)


def losses(outcome: Outcome, where: settings.Settings) -> list[float]:
    history = MlflowClient(where.mlflow_tracking_uri).get_metric_history(outcome.tracking_run_id, "train/loss")
    return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]


def states(s3: S3Store, where: settings.Settings, name: str) -> list[str]:
    """Addresses of the checkpoints that a run keeps."""
    found = (info.uri for info in s3.list(f"{where.runs_uri}/{name}"))
    return sorted(one.removesuffix(f"/{checkpoint.FILE_NAME}") for one in found if one.endswith(checkpoint.FILE_NAME))


def test_an_interrupted_training_comes_to_the_same(
    s3: S3Store, where: settings.Settings, uri: str, config: ExperimentConfig
) -> None:
    """Ended in its second epoch and begun again, losses, validation and the run on MLflow are those of an undisturbed
    one; the last and the best checkpoint are kept, and no other.
    """
    heard: list[float] = []

    def interrupt(metrics: dict[str, float]) -> None:
        heard.append(metrics["epoch"])
        if metrics["epoch"] == 2:
            raise Interrupted

    calm = alone.train(config, [uri], run_name="calm", places=where)
    with pytest.raises(Interrupted):
        alone.train(config, [uri], run_name="cut", places=where, heard=interrupt)
    failed = MlflowClient(where.mlflow_tracking_uri).search_runs(["1"], "attributes.run_name = 'cut'")
    resumed = alone.train(config, [uri], run_name="cut", places=where, heard=lambda m: heard.append(m["epoch"]))

    assert [run.info.status for run in failed] == ["FAILED"]
    assert heard == [1, 2, 3]
    assert losses(resumed, where) == losses(calm, where) and len(losses(calm, where)) == EPOCHS
    assert (resumed.val_nme, resumed.epochs) == (calm.val_nme, EPOCHS)
    assert failed[0].info.run_id == resumed.tracking_run_id
    assert run_of(resumed, where).info.status == "FINISHED"
    assert read_outcome("cut", where) == resumed
    index = json.loads(s3.get(f"{where.runs_uri}/cut/{alone.INDEX}"))
    assert states(s3, where, "cut") == sorted({index["last"]["uri"], index["best"]["uri"]})
    assert index["best"]["uri"] == resumed.checkpoint_uri


@pytest.mark.parametrize("damaged", ["checkpoint", "list"])
def test_a_damaged_checkpoint_is_not_gone_on_from(
    s3: S3Store, where: settings.Settings, uri: str, config: ExperimentConfig, damaged: str
) -> None:
    """A byte that flipped in the checkpoint, or a list that is none: one error that names the file."""

    def interrupt(metrics: dict[str, float]) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        alone.train(config, [uri], run_name=f"spoilt-{damaged}", places=where, heard=interrupt)
    index = f"{where.runs_uri}/spoilt-{damaged}/{alone.INDEX}"
    if damaged == "list":
        s3.put(index, b"[1, 2]")
        problem = f"^{index}: not a list of checkpoints"
    else:
        state = f"{json.loads(s3.get(index))['last']['uri']}/{checkpoint.FILE_NAME}"
        content = bytearray(s3.get(state))
        content[len(content) // 2] ^= 1
        s3.put(state, bytes(content))
        problem = f"^{state}: its sha256 is "
    with pytest.raises(CheckpointError, match=problem):
        alone.train(config, [uri], run_name=f"spoilt-{damaged}", places=where)
