"""A protocol of one's own, a TOML file and nothing else, from annotations to predictions.

pytest tests/integration/test_own_protocol.py
"""

import csv
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from adodn import datasets, models, protocols, publish, recipes, settings
from adodn.config import ExperimentConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import ImagePolicy, Manifest
from adodn.data.shards import read_manifest, shard_dataset
from adodn.data.store import S3Store
from adodn.datasets.synthetic import render
from adodn.errors import ConfigError
from adodn.model_files import write_model
from adodn.predict import Predictor
from adodn.train.loop import fit
from adodn.train.state import TrainState, build_state
from infra.stack import StackInfo

pytestmark = pytest.mark.integration

TOML = """
name = "pupils-and-mouth"
num_landmarks = 5
flip_pairs = [[0, 1], [3, 4]]

[normalisers]
between_eyes = [[0], [1]]

[parts]
mouth = [3, 4]
"""
IN_68 = ((36, 39), (42, 45), (30,), (48,), (54,))
SPLITS = ["train"] * 16 + ["val"] * 8 + ["test"] * 8


class Silent:
    """Hooks that do nothing."""

    def after_step(self, state: TrainState) -> None:
        """Nothing."""

    def after_epoch(self, state: TrainState, metrics: dict[str, float]) -> None:
        """Nothing."""


def write_table(folder: Path) -> None:
    """Rendered faces with five landmarks, as a user would bring them."""
    (folder / "images").mkdir(parents=True)
    with (folder / "faces.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["image", "split", *(f"{axis}{point}" for point in range(5) for axis in "xy")])
        for number, split in enumerate(SPLITS):
            face = render(0, "common", number, 80)
            points = np.stack([face.landmarks[list(group)].mean(0) for group in IN_68])
            (folder / "images" / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(face.image))
            table.writerow([f"{number}.jpg", split, *points.ravel().tolist()])


@pytest.fixture(scope="module")
def sharded(stack: StackInfo, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Manifest]:
    """The faces on S3; the raw dataset and the TOML file are gone."""
    folder = tmp_path_factory.mktemp("own")
    write_table(folder / "faces")
    (folder / "own.toml").write_text(TOML)
    raw = datasets.open("table", folder / "faces", protocol=str(folder / "own.toml"))
    places = settings.get()
    uri, manifest = shard_dataset(raw, S3Store.from_settings(places), places.datasets_uri, ImagePolicy())
    (folder / "own.toml").unlink()
    return uri, manifest


@pytest.fixture(scope="module")
def trained(sharded: tuple[str, Manifest]) -> TrainState:
    """One epoch, in this process."""
    uri, manifest = sharded
    config = recipes.adodn_smoke().with_fields({"train.epochs": 1, "train.global_batch": 8})
    config = config.on_dataset(manifest.digest, manifest.landmark_protocol)
    network = models.build(config.model)
    state = build_state(config, network, network, 2)
    return fit(state, loader(uri, manifest, config, "train"), loader(uri, manifest, config, "val"), Silent())


def loader(uri: str, manifest: Manifest, config: ExperimentConfig, split: str) -> ShardLoader:
    places = settings.get()
    return ShardLoader(
        manifest=manifest,
        base_uri=uri.removesuffix("/manifest.json"),
        source=S3Store.from_settings(places),
        cache=ShardCache(places.cache_dir, places.cache_max_bytes),
        split=split,
        protocol=config.model.landmark_protocol,
        data=config.data,
        input_px=config.model.input_px,
        global_batch=config.train.global_batch,
        train=split == "train",
    )


def test_the_manifest_carries_the_protocol(sharded: tuple[str, Manifest]) -> None:
    """What was read back from S3 knows points, flip and normalisers without the file."""
    uri, _ = sharded
    protocol = read_manifest(S3Store.from_settings(settings.get()), uri).landmark_protocol

    assert (protocol.name, protocol.num_landmarks, protocol.flip) == ("pupils-and-mouth", 5, (1, 0, 2, 4, 3))
    assert protocol.usual_normaliser == "between_eyes"


def test_training_and_evaluation_use_it(sharded: tuple[str, Manifest], trained: TrainState) -> None:
    """A recipe for 68 landmarks trains on five and is measured by their own normaliser, or by the one asked for."""
    uri, _ = sharded
    usual, box = (
        publish.measure(trained.network, trained.config, uri, settings.get(), normaliser=name).report
        for name in (None, "box_size")
    )

    assert 0 < trained.best_nme < float("inf")
    assert {(result.name, result.num_faces) for result in usual.results if "nme@" in result.name} == {
        ("table/all nme@between_eyes", 8)
    }
    assert 0 < box.value("table/all nme@box_size") < usual.value("table/all nme@between_eyes")


def test_a_model_predicts_it_elsewhere(tmp_path: Path, trained: TrainState) -> None:
    """A model's two files are enough for five landmarks of a face in any image."""
    write_model(tmp_path / "model", trained.network.state_dict(), trained.config)
    face = render(0, "common", 99, 120)
    (x0, y0), (x1, y1) = face.landmarks.min(0).tolist(), face.landmarks.max(0).tolist()

    [found] = Predictor.load(str(tmp_path / "model"))([face.image], [(x0, y0, x1, y1)])

    assert found.landmarks.shape == (5, 2)
    assert np.isfinite(found.landmarks).all()


def test_another_protocol_of_the_same_name_is_refused(sharded: tuple[str, Manifest], trained: TrainState) -> None:
    """A model of other points under the same name is not measured on these."""
    uri, manifest = sharded
    other = protocols.LandmarkProtocol(name="pupils-and-mouth", num_landmarks=5, flip=(1, 0, 2, 3, 4), normalisers={})
    config = trained.config.on_dataset(manifest.digest, other)

    with pytest.raises(ConfigError, match="pupils-and-mouth"):
        publish.measure(trained.network, config, uri, settings.get())
