"""A registered model whose files were changed in the artifact store, on S3 and past MLflow: refused, file by file.

pytest tests/integration/test_tampering.py
"""

import hashlib
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch
from typer.testing import CliRunner

from adodn import models, registry, settings
from adodn.cli import build
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.predict import Predictor
from adodn.tracking import Tracker, params_of

pytestmark = pytest.mark.integration

CONFIG = ExperimentConfig(
    name="tampered",
    model=ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1, backbone="resnet18"),
)
FILES = ("data/model.pt2", "extra_files/weights.safetensors", "extra_files/config.json", "MLmodel", "requirements.txt")


@pytest.fixture(scope="module")
def version(stack: object) -> Iterator[registry.ModelVersion]:
    """An untrained model on record."""
    tracker = Tracker(settings.get().mlflow_tracking_uri)
    run_id = tracker.start(CONFIG.run_name, fingerprint=CONFIG.fingerprint(), params=params_of(CONFIG))
    torch.manual_seed(0)
    yield registry.register(models.build(CONFIG.model), CONFIG, [], run_id, who="ann", why="test")
    tracker.finish()
    mlflow.MlflowClient(settings.get().mlflow_tracking_uri).delete_registered_model("adodn-68")


@pytest.fixture
def stored(version: registry.ModelVersion) -> Iterator[tuple[S3Store, str]]:
    """The store and the folder of the model's files there; whatever a test does to them is undone."""
    store = S3Store.from_settings(settings.get())
    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)
    model_id = client.get_model_version(version.name, str(version.version)).model_id
    folder = next(
        entry.uri.removesuffix("/MLmodel")
        for entry in store.list("s3://mlflow/artifacts")
        if entry.uri.endswith(f"/{model_id}/artifacts/MLmodel")
    )
    before = {entry.uri: store.get(entry.uri) for entry in store.list(folder)}
    yield store, folder
    for entry in list(store.list(folder)):
        if entry.uri not in before:
            store.delete(entry.uri)
    for uri, content in before.items():
        store.put(uri, content)


def test_every_file_is_on_record(version: registry.ModelVersion, stored: tuple[S3Store, str]) -> None:
    """The version's tag has the sha256 of each file in the store and of no other, and the model loads."""
    store, folder = stored
    found = {
        entry.uri.removeprefix(f"{folder}/"): hashlib.sha256(store.get(entry.uri)).hexdigest()
        for entry in store.list(folder)
    }

    with registry.fetched(version.uri) as model:
        assert model.sha256 == found
    assert set(FILES) <= found.keys()
    assert Predictor.load(version.uri).config == CONFIG
