"""A registered model whose files were changed in the artifact store, on S3 and past MLflow: refused, file by file.

pytest tests/integration/test_tampering.py
"""

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import mlflow.pytorch
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from adodn import models, registry, settings
from adodn.cli import build
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data.store import S3Store
from adodn.errors import CheckpointError, ConfigError
from adodn.predict import Predictor
from adodn.tracking import Tracker, params_of

pytestmark = pytest.mark.integration

CONFIG = ExperimentConfig(
    name="tampered",
    model=ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1),
)
GRAPH, WEIGHTS, CONFIG_FILE = "data/model.pt2", "extra_files/weights.safetensors", "extra_files/config.json"


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
    location = client.get_model_version_download_uri(version.name, str(version.version))
    folder = location.replace("mlflow-artifacts:/", "s3://mlflow/artifacts/")
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
    assert {GRAPH, WEIGHTS, CONFIG_FILE, "MLmodel", "input_example.json", "requirements.txt"} <= found.keys()
    assert Predictor.load(version.uri).config == CONFIG


def flipped(content: bytes) -> bytes:
    """One bit of it is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def other_weights(content: bytes) -> bytes:
    """Whole and well-formed, and of the same shapes."""
    return safetensors.torch.save({name: value + 1 for name, value in safetensors.torch.load(content).items()})


DOCTORED: dict[str, Callable[[bytes], bytes]] = {
    GRAPH: flipped,
    WEIGHTS: other_weights,
    CONFIG_FILE: lambda content: content.replace(b'"seed":0', b'"seed":1'),
    "MLmodel": lambda content: content.replace(b"loader_module: mlflow.pytorch", b"loader_module: os"),
    "requirements.txt": lambda content: content + b"not-what-it-says\n",
    "input_example.json": lambda content: b"{}",
}


@pytest.mark.parametrize("name", DOCTORED)
def test_a_file_that_was_changed_is_refused(
    version: registry.ModelVersion, stored: tuple[S3Store, str], name: str, tmp_path: Path
) -> None:
    """The error names model, file and both hashes; nothing is loaded or exported."""
    store, folder = stored
    before = store.get(f"{folder}/{name}")
    after = DOCTORED[name](before)
    assert after != before
    store.put(f"{folder}/{name}", after)

    with pytest.raises(CheckpointError) as refused:
        Predictor.load(version.uri)
    done = CliRunner().invoke(build("registry"), ["export", version.uri, str(tmp_path / "out"), "--all"])

    expected, actual = (hashlib.sha256(content).hexdigest() for content in (before, after))
    for part in (version.uri, f"sha256 of {name} must be {expected}, got {actual}", "register the model again"):
        assert part in str(refused.value)
    assert isinstance(done.exception, CheckpointError)
    assert list(tmp_path.iterdir()) == []


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_was_added_is_never_opened(
    version: registry.ModelVersion, stored: tuple[S3Store, str], tmp_path: Path
) -> None:
    """MLflow itself prefers such a file to the graph, and runs it; ours does not even download it."""
    store, folder = stored
    mark = tmp_path / "it-ran"
    torch.save(Payload(mark), tmp_path / "model.pth")
    store.put(f"{folder}/data/model.pth", (tmp_path / "model.pth").read_bytes())
    store.put(f"{folder}/data/pickle_module_info.txt", b"pickle")

    with pytest.raises(CheckpointError, match=r"'data/model\.pth' was added in the artifact store.*not downloaded"):
        Predictor.load(version.uri)
    assert not mark.exists()
    with pytest.raises(AttributeError):  # what the folder's maker returned is no model
        mlflow.pytorch.load_model(version.uri)
    assert mark.exists(), "this test's pickle is harmless, and shows nothing"


@pytest.mark.parametrize("name", ["code/evil.py", "extra_files/more/deep.txt", "a.pkl"])
def test_whatever_was_added_is_refused(version: registry.ModelVersion, stored: tuple[S3Store, str], name: str) -> None:
    """Beside the files, in a folder of its own, or far below."""
    store, folder = stored
    store.put(f"{folder}/{name}", pickle.dumps("more"))

    with pytest.raises(CheckpointError, match=f"'{name}' was added"):
        Predictor.load(version.uri)
    store.delete(f"{folder}/{name}")
    assert Predictor.load(version.uri).config == CONFIG, "an empty folder may be left, and is nothing"


def test_a_file_that_was_deleted_is_refused(version: registry.ModelVersion, stored: tuple[S3Store, str]) -> None:
    """With the hash that it must have."""
    store, folder = stored
    expected = hashlib.sha256(store.get(f"{folder}/{GRAPH}")).hexdigest()
    store.delete(f"{folder}/{GRAPH}")

    with pytest.raises(CheckpointError, match=rf"file 'data/model\.pt2' must have sha256 {expected}, got no file"):
        Predictor.load(version.uri)


@pytest.mark.parametrize("value", [None, "no json", "[]", '{"../../out": "' + 64 * "0" + '"}', '{"MLmodel": "0"}'])
def test_hashes_that_are_missing_or_no_hashes_are_refused(version: registry.ModelVersion, value: str | None) -> None:
    """A version without them is not trusted, and names that lead out of the folder are not followed."""
    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)
    known = version.tags[registry.FILES_TAG]
    try:
        client.delete_model_version_tag(version.name, str(version.version), registry.FILES_TAG)
        if value is not None:
            client.set_model_version_tag(version.name, str(version.version), registry.FILES_TAG, value)
        with pytest.raises(CheckpointError, match="files_sha256"):
            Predictor.load(version.uri)
    finally:
        client.set_model_version_tag(version.name, str(version.version), registry.FILES_TAG, known)


def test_what_is_exported_is_what_was_registered(version: registry.ModelVersion, tmp_path: Path) -> None:
    """`--all` gives what MLflow reads, verified; a folder that is not empty is left alone."""
    out = tmp_path / "out"
    words = ["export", version.uri, str(out), "--all", "--json"]
    done = CliRunner().invoke(build("registry"), words)
    again = CliRunner().invoke(build("registry"), words)

    assert done.exit_code == 0, done.output
    assert isinstance(again.exception, ConfigError)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert registry_names(version) == {path.relative_to(out / "mlflow").as_posix() for path in files(out / "mlflow")}
    images = torch.zeros(3, 3, 64, 64, dtype=torch.uint8)
    with torch.inference_mode():
        ours = Predictor.load(out)._model(images).landmarks
        theirs = mlflow.pytorch.load_model(str(out / "mlflow"))(images)
    assert torch.allclose(ours, theirs, atol=1e-5)


def registry_names(version: registry.ModelVersion) -> set[str]:
    return set(json.loads(version.tags[registry.FILES_TAG]))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
