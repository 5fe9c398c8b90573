"""The whole chain on MLflow and S3: from a prediction of a registered model to the photos, and what breaks it.

pytest tests/integration/test_lineage_chain.py
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from adodn import datasets, models, registry, settings
from adodn.cli import build
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data import images
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store
from adodn.errors import TrackingError
from adodn.publish import claim_run, measure
from adodn.tracking import DatasetRef, Tracker, params_of

pytestmark = pytest.mark.integration

ALL = ("model", "run", "config", "code", "dataset", "shards", "sources")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An untrained model on record, as if it had been trained on a rendered dataset."""

    version: registry.ModelVersion
    config: ExperimentConfig
    dataset_uri: str
    store: S3Store
    photo: bytes
    predictions: str
    """Of the photo, by the alias that the model had when it was registered."""


@pytest.fixture(scope="module")
def registered(stack: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    """What `adodn train` and `adodn evaluate --register` leave behind, without any training."""
    places = settings.get()
    store = S3Store.from_settings(places)
    faces = datasets.open("synthetic", num_train=4, num_val=2, num_common=2, num_challenging=2, size_px=64, seed=5)
    uri, manifest = shard_dataset(faces, store, f"{places.datasets_uri}/lineage", ImagePolicy())
    model = ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1)
    config = ExperimentConfig(name="traced", model=model).on_dataset(manifest.digest, manifest.landmark_protocol)
    tracker = Tracker(places.mlflow_tracking_uri)
    dataset = DatasetRef(name=manifest.dataset, digest=manifest.digest, uri=uri)
    claim_run(config, config.run_name, places)
    run_id = tracker.start(
        config.run_name,
        fingerprint=config.fingerprint(),
        params=params_of(config),
        tags={"mlflow.source.git.commit": "0" * 40 + "+"},
        datasets=[dataset],
    )
    torch.manual_seed(0)
    network = models.build(config.model).eval()
    version = registry.register(network, config, [measure(network, config, uri, places).report], run_id, why="test")
    tracker.finish()
    photo, predictions = predict("models:/adodn-68@challenger", tmp_path_factory.mktemp("photos"))
    yield Registered(version=version, config=config, dataset_uri=uri, store=store, photo=photo, predictions=predictions)
    client().delete_registered_model(version.name)


def client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient(settings.get().mlflow_tracking_uri)


def predict(model: str, folder: Path) -> tuple[bytes, str]:
    """A photo of coloured noise, and what the command saves of it."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    photo, out = folder / "photo.jpg", folder / "predictions.json"
    photo.write_bytes(images.encode(pixels, quality=95))
    words = ["predict", model, str(photo), "--box", "10,12,60,70", "--save", str(out)]
    done = CliRunner().invoke(build("predict"), words)
    assert done.exit_code == 0, done.output
    return photo.read_bytes(), out.read_text()


@pytest.fixture
def saved(registered: Registered, tmp_path: Path) -> Path:
    """A prediction of the model, beside its photo."""
    (tmp_path / "photo.jpg").write_bytes(registered.photo)
    (tmp_path / "predictions.json").write_text(registered.predictions)
    return tmp_path / "predictions.json"


def lineage(what: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and what the command says to machines: step → link."""
    done = CliRunner().invoke(build("lineage"), ["lineage", what, "--json", *words])
    assert done.stdout, done.output
    return done.exit_code, {link["step"]: link for link in json.loads(done.stdout)["links"]}


def test_a_prediction_leads_back_to_every_photo(registered: Registered, saved: Path) -> None:
    """Every step is named and verified but the code, of which nobody kept the changes; the dataset is the very one."""
    code, links = lineage(str(saved))

    assert code == 0
    states = {step: link["state"] for step, link in links.items()}
    assert states == dict.fromkeys(("prediction", *ALL), "verified") | {"code": "not verifiable here"}
    assert links["model"]["subject"] == registered.version.uri
    assert links["model"]["facts"]["sha256"] == json.loads(registered.version.tags[registry.FILES_TAG])
    assert links["run"]["facts"]["run_id"] == registered.version.run_id
    assert links["config"]["facts"]["fingerprint"] == registered.config.fingerprint()
    assert links["code"]["facts"] == {"commit": "0" * 40, "dirty": True}
    assert links["dataset"]["facts"]["digest"] == registered.config.data.dataset
    assert links["dataset"]["facts"]["manifest"] == registered.dataset_uri
    assert len(links["sources"]["facts"]["sources"]) == 10
    text = CliRunner().invoke(build("lineage"), ["lineage", str(saved)]).stdout
    assert [line.split()[0] for line in text.splitlines() if not line.startswith(" ")] == ["prediction", *ALL]


def test_every_beginning_leads_to_the_same_photos(registered: Registered, tmp_path: Path) -> None:
    """Version, alias, exported folder, the run's id; each finds one face by its key."""
    done = CliRunner().invoke(build("registry"), ["export", registered.version.uri, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    run_id = registered.version.run_id
    for what in (registered.version.uri, "adodn-68@challenger", str(tmp_path / "out"), run_id):
        code, links = lineage(what, "--source", "train-000002")
        assert (code, links["config"]["state"], links["source"]["state"]) == (0, "verified", "verified"), what
        assert links["config"]["facts"]["fingerprint"] == registered.config.fingerprint()
        assert ("model" in links) == (what != run_id)


def test_a_prediction_stays_with_its_version(registered: Registered, saved: Path) -> None:
    """The alias moves on; the file still names the version whose weights were used."""
    torch.manual_seed(1)
    run_id = registered.version.run_id
    later = registry.register(models.build(registered.config.model).eval(), registered.config, [], run_id)

    assert lineage("adodn-68@challenger", "--quick")[1]["model"]["subject"] == later.uri
    assert lineage(str(saved), "--quick")[1]["model"]["subject"] == registered.version.uri


def test_a_prediction_of_other_weights_is_a_broken_link(registered: Registered, saved: Path) -> None:
    """Who claims a version must have its hashes; both are said. So with the run."""
    honest = json.loads(saved.read_text())
    claims = [
        ("sha256", {**honest["model"]["sha256"], "weights.safetensors": "0" * 64}),
        ("run_id", "0" * 32),
        ("fingerprint", "0" * 12),
    ]
    for field, value in claims:
        saved.write_text(json.dumps({**honest, "model": {**honest["model"], field: value}}))
        code, links = lineage(str(saved), "--quick")
        assert (code, links["model"]["state"]) == (1, "broken"), field
        assert "0" * 12 in links["model"]["why"]
    saved.write_text(json.dumps({**honest, "model": {**honest["model"], "model": "models:/adodn-68/77"}}))
    code, links = lineage(str(saved), "--quick")
    assert (code, links["model"]["state"], "77" in links["model"]["why"]) == (1, "broken", True)


def test_a_doctored_graph_breaks_one_link_and_hides_no_other(registered: Registered) -> None:
    """The chain goes on by what the run left beside its checkpoints, so that it is seen what the model was to be."""
    location = client().get_model_version_download_uri("adodn-68", str(registered.version.version))
    graph = location.replace("mlflow-artifacts:/", "s3://mlflow/artifacts/") + "/data/model.pt2"
    before = registered.store.get(graph)
    try:
        registered.store.put(graph, before + b"more")
        code, links = lineage(registered.version.uri)
    finally:
        registered.store.put(graph, before)

    assert code == 1
    assert links["model"]["state"] == "broken"
    assert "data/model.pt2" in links["model"]["why"]
    for step in ("run", "config", "dataset", "shards", "sources"):
        assert links[step]["state"] == "verified", step
    assert links["config"]["facts"]["read_from"].endswith("/experiment.json")


def test_a_run_of_another_fingerprint_is_a_broken_link(registered: Registered) -> None:
    """Somebody edited the run's tag."""
    run_id = registered.version.run_id
    try:
        client().set_tag(run_id, "fingerprint", "0" * 12)
        code, links = lineage(registered.version.uri, "--quick")
    finally:
        client().set_tag(run_id, "fingerprint", registered.config.fingerprint())

    assert (code, links["run"]["state"]) == (1, "broken")
    assert f"is {'0' * 12}, that of the config is {registered.config.fingerprint()}" in links["run"]["why"]


def test_what_mlflow_does_not_have_is_one_error(registered: Registered) -> None:
    """A version, a model, a run: named, and no chain is printed."""
    for what in ("models:/adodn-68/77", "nobody@champion", "f" * 32):
        done = CliRunner().invoke(build("lineage"), ["lineage", what])
        assert isinstance(done.exception, TrackingError), done.output
        assert done.stdout == ""


def test_the_card_is_with_the_version_and_with_the_run(registered: Registered, tmp_path: Path) -> None:
    """The whole one as an artifact, and one that fits as the description; both name the dataset's whole digest."""
    version = client().get_model_version("adodn-68", str(registered.version.version))
    [card] = client().list_artifacts(registered.version.run_id, "model_card")[:1]
    whole = Path(client().download_artifacts(registered.version.run_id, card.path, str(tmp_path))).read_text()

    for text in (version.description, whole):
        assert text.startswith("# Facial landmark detector `traced`")
        assert text.count("\n## ") == 6
        assert registered.config.data.dataset in text
        assert registered.dataset_uri in text
    assert len(version.description) <= 5000
