"""A training in one process, on a real store and a real MLflow database: interrupted, it goes on where it stood.

pytest tests/storage/test_alone.py
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
from adodn.train.checkpoint_index import INDEX
from tests.fault_proxy import FaultProxy, answer

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


@contextmanager
def full(where: settings.Settings, refusals: int) -> Iterator[settings.Settings]:
    """The same places with a bucket that refuses so many checkpoints; their list, of a few bytes, still fits."""
    with FaultProxy(where.s3_endpoint_url) as proxy:
        proxy.spoil("PUT", checkpoint.FILE_NAME, answer(403, "QuotaExceeded"), times=refusals)
        yield where.model_copy(update={"s3_endpoint_url": proxy.url})


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


def test_fault_19_a_bucket_that_is_full_for_a_while_changes_nothing(
    s3: S3Store, where: settings.Settings, uri: str, config: ExperimentConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Two checkpoints in a row are refused: two warnings, the same losses, the same best, and all are kept at last."""
    calm = alone.train(config, [uri], run_name="roomy", places=where)
    with full(where, refusals=2) as places:
        outcome = alone.train(config, [uri], run_name="full", places=places)

    warned = [one for one in caplog.messages if "training goes on without it" in one]
    assert len(warned) == 2 and all("QuotaExceeded" in one for one in warned)
    assert losses(outcome, where) == losses(calm, where) and len(losses(calm, where)) == EPOCHS
    assert (outcome.val_nme, outcome.epochs) == (calm.val_nme, EPOCHS)
    assert run_of(outcome, where).info.status == "FINISHED"
    assert run_of(outcome, where).data.metrics["train/checkpoint_failures"] >= 1
    assert outcome.checkpoint_uri in states(s3, where, "full")


def test_fault_19_a_bucket_that_stays_full_is_one_clear_error(
    s3: S3Store, where: settings.Settings, uri: str, config: ExperimentConfig
) -> None:
    """The third refusal in a row ends the training with the reason and the way on; with room, that comes to its end."""
    with (
        full(where, refusals=1000) as places,
        pytest.raises(CheckpointError, match=r"3 times in a row: s3://.*Quota.*start the run again under its name"),
    ):
        alone.train(config, [uri], run_name="full-for-good", places=places)
    (failed,) = MlflowClient(where.mlflow_tracking_uri).search_runs(["1"], "attributes.run_name = 'full-for-good'")
    left = states(s3, where, "full-for-good")
    resumed = alone.train(config, [uri], run_name="full-for-good", places=where)

    assert (failed.info.status, left) == ("FAILED", [])
    assert (resumed.tracking_run_id, resumed.epochs) == (failed.info.run_id, EPOCHS)
    assert len(losses(resumed, where)) == EPOCHS
    assert run_of(resumed, where).info.status == "FINISHED"
