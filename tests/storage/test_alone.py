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
from adodn.publish import Outcome, read_outcome
from adodn.train import alone, checkpoint
from adodn.train.checkpoint_index import INDEX

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


def half_of_the_last(s3: S3Store, base_uri: str) -> tuple[str, str]:
    """Cuts a run's last checkpoint; answers its address and that of the one before."""
    last, before = (
        f"{base_uri}/{kept['folder']}/{checkpoint.FILE_NAME}"
        for kept in json.loads(s3.get(f"{base_uri}/{INDEX}"))["latest"]
    )
    content = s3.get(last)
    s3.put(last, content[: len(content) // 2])
    return last, before


def test_an_interrupted_training_comes_to_the_same(
    s3: S3Store, where: settings.Settings, uri: str, config: ExperimentConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Ended in its second epoch and begun again, losses, validation and the run on MLflow are those of an undisturbed
    one, also where the last checkpoint is cut and training goes on at the one before. Kept are the best and the last
    two checkpoints, and no other.
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
    base_uri = f"{where.runs_uri}/cut"
    last, before = half_of_the_last(s3, base_uri)
    resumed = alone.train(config, [uri], run_name="cut", places=where, heard=lambda m: heard.append(m["epoch"]))

    assert [run.info.status for run in failed] == ["FAILED"]
    assert heard == [1, 2, 2, 3]
    assert any(f"{last} is damaged" in one and f"going on at {before} instead" in one for one in caplog.messages)
    assert losses(resumed, where) == losses(calm, where) and len(losses(calm, where)) == EPOCHS
    assert (resumed.val_nme, resumed.epochs) == (calm.val_nme, EPOCHS)
    assert failed[0].info.run_id == resumed.tracking_run_id
    assert run_of(resumed, where).info.status == "FINISHED"
    assert run_of(resumed, where).data.metrics["train/checkpoint_failures"] == 0
    assert read_outcome("cut", where) == resumed
    index = json.loads(s3.get(f"{base_uri}/{INDEX}"))
    listed = [*index["latest"], index["best"]]
    assert [kept["epoch"] for kept in index["latest"]] == [3, 2]
    assert states(s3, where, "cut") == sorted({f"{base_uri}/{kept['folder']}" for kept in listed})
    assert f"{base_uri}/{index['best']['folder']}" == resumed.checkpoint_uri
    assert index["best"]["sha256"] == resumed.sha256
