"""The chain from a training's config to its photos, on a real S3: what was changed there is a broken link.

pytest tests/storage/test_lineage_data.py
"""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adodn import datasets, settings
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data.manifest import ImagePolicy, Manifest
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store
from adodn.lineage import Link, trace
from adodn.lineage.data import dataset_links, start_links
from adodn.model_origin import ModelOrigin
from adodn.predict import FacePrediction
from adodn.predictions import Predictions
from adodn.tracking import DatasetRef
from adodn.train.initial import put_by_digest
from tests.ports import free_ports

pytestmark = pytest.mark.integration

TINY = ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1)


@pytest.fixture
def published(s3: S3Store, s3_folder: str) -> tuple[str, Manifest]:
    """A dataset of rendered faces, two shards at least: its manifest's address, and the manifest."""
    faces = datasets.open("synthetic", num_train=6, num_val=2, num_common=2, num_challenging=2, size_px=64)
    return shard_dataset(faces, s3, s3_folder, ImagePolicy())


def chain(published: tuple[str, Manifest], store: S3Store, *, read: bool = True, source: str = "") -> dict[str, Link]:
    """The steps of the dataset by name; the run is as MLflow keeps it, with a digest that is cut."""
    uri, manifest = published
    ref = DatasetRef(name=manifest.dataset, digest=manifest.digest[:36], uri=uri)
    found = dataset_links(manifest.digest, [ref], store, read=read, source=source)
    return {link.step: link for link in found}


def listed(link: Link, name: str) -> list[dict[str, Any]]:
    """What a step says to machines."""
    found = link.facts[name]
    assert isinstance(found, list)
    return found


def shard_uri(published: tuple[str, Manifest], split: str = "train") -> str:
    uri, manifest = published
    return uri.replace("manifest.json", manifest.splits[split][0].name)


def members(store: S3Store, uri: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(store.get(uri))) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


def test_every_photo_is_found_by_its_own_digest(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """The digests of the chain are those that sha256 gives of the files that were put in, all faces of all shards."""
    links = chain(published, s3)

    assert {step: link.state for step, link in links.items()} == dict.fromkeys(
        ("dataset", "shards", "sources"), "verified"
    )
    raw = datasets.open("synthetic", num_train=6, num_val=2, num_common=2, num_challenging=2, size_px=64)
    originals = {sample.ref.key: hashlib.sha256(sample.image).hexdigest() for sample in raw}
    found = listed(links["sources"], "sources")
    assert {face["key"]: face["image_sha256"] for face in found} == originals
    assert {(one["name"], one["sha256"]) for one in listed(links["shards"], "shards")} == {
        (entry.name, hashlib.sha256(s3.get(shard_uri(published, split))).hexdigest())
        for split, entries in published[1].splits.items()
        for entry in entries
    }


def test_a_face_is_found_by_key_and_by_photo(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """With its whole record; who was left out, or never there, is not found, and it is said why."""
    by_key = chain(published, s3, source="train-000003")["source"]
    [face] = listed(by_key, "faces")
    by_photo = chain(published, s3, source=face["image_sha256"])["source"]
    nobody = chain(published, s3, source="nobody")["source"]

    stored = members(s3, shard_uri(published))
    assert face["image_sha256"] == hashlib.sha256(stored["train-000003.jpg"]).hexdigest()
    assert json.loads(json.dumps(face["landmarks"])) == json.loads(stored["train-000003.json"])["landmarks"]
    assert (by_key.state, by_photo.state, by_photo.facts["faces"]) == ("verified", "verified", by_key.facts["faces"])
    assert (nobody.state, "no face of synthetic has that key" in nobody.why) == ("broken", True)


def test_a_face_that_was_left_out_is_said_to_be(s3: S3Store, s3_folder: str) -> None:
    """With the reason that the manifest keeps."""
    faces = datasets.open("synthetic", num_train=4, num_val=2, num_common=1, num_challenging=1, size_px=64)
    gone = shard_dataset(faces, s3, s3_folder, ImagePolicy(), exclude={"train-000001": "asked not to be in it"})

    assert chain(gone, s3, source="train-000001")["source"].why == "left out of synthetic: asked not to be in it"


def test_photos_that_were_cut_are_not_claimed_to_be_there(s3: S3Store, s3_folder: str) -> None:
    """A stored crop has other bytes than its original: the digest is known, and only the original can confirm it."""
    faces = datasets.open("synthetic", num_train=2, num_val=1, num_common=1, num_challenging=1, size_px=64)
    cut = shard_dataset(faces, s3, s3_folder, ImagePolicy(max_px=32))
    links = chain(cut, s3)

    assert links["shards"].state == "verified"
    assert (links["sources"].state, "compare sha256sum" in links["sources"].why) == ("not verifiable here", True)
    originals = {hashlib.sha256(sample.image).hexdigest() for sample in faces}
    assert {face["image_sha256"] for face in listed(links["sources"], "sources")} == originals


def test_without_reading_nothing_is_called_verified(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """`--quick` only asks for size and recorded sha256; the manifest is small, and is checked."""
    links = chain(published, s3, read=False)

    assert links["dataset"].state == "verified"
    assert (links["shards"].state, links["sources"].state) == ("not verifiable here", "not verifiable here")
    assert "the store has all of them" in links["shards"].why


@pytest.mark.parametrize("read", [True, False])
def test_a_shard_that_is_gone_is_named(s3: S3Store, published: tuple[str, Manifest], read: bool) -> None:
    """With and without reading; the others are still listed."""
    s3.delete(shard_uri(published))

    shards = chain(published, s3, read=read)["shards"]

    assert shards.state == "broken"
    assert f"{shard_uri(published)} is missing" in shards.why
    each = listed(shards, "shards")
    assert [one["state"] == "broken" for one in each] == [one["split"] == "train" for one in each]


def test_a_shard_with_another_photo_is_broken_with_both_hashes(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """Of the same size and with the sha256 of the honest one beside it: only reading tells, and it does."""
    uri = shard_uri(published)
    info, content = s3.head(uri), s3.get(uri)
    assert info is not None
    doctored = content.replace(content[1000:1001], bytes([content[1000] ^ 1]), 1)
    s3.put(uri, doctored, metadata=info.metadata)

    assert chain(published, s3, read=False)["shards"].state == "not verifiable here"
    shards = chain(published, s3)["shards"]

    expected, actual = (hashlib.sha256(data).hexdigest() for data in (content, doctored))
    assert (shards.state, f"sha256 must be {expected}, got {actual}" in shards.why) == ("broken", True)


def test_a_shard_of_other_size_needs_no_reading(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """What the store says of it already differs."""
    s3.put(shard_uri(published), b"short")
    assert chain(published, s3, read=False)["shards"].state == "broken"


@pytest.mark.parametrize("change", ["gone", "other", "no json"])
def test_a_manifest_that_is_not_the_one_ends_the_chain(
    s3: S3Store, published: tuple[str, Manifest], change: str
) -> None:
    """Missing, another, or none at all: broken, and the shards that it names are not called those of the training."""
    uri, manifest = published
    if change == "gone":
        s3.delete(uri)
    elif change == "other":
        s3.put(uri, replace(manifest, split_rule="another").to_json().encode())
    else:
        s3.put(uri, b"{")

    links = chain(published, s3)

    assert {step: link.state for step, link in links.items()} == {"dataset": "broken"}
    assert uri in links["dataset"].why


def test_a_dataset_that_no_run_names_is_not_guessed(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """Its address is known to the run alone."""
    [link] = dataset_links(published[1].digest, [], s3, read=True)
    assert (link.step, link.state) == ("dataset", "not verifiable here")


def test_a_run_on_other_data_is_a_broken_link(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """Both digests are said; a digest that is empty fits nothing."""
    for digest in ("e" * 36, ""):
        ref = DatasetRef(name="other", digest=digest, uri=published[0])
        [link] = dataset_links(published[1].digest, [ref], s3, read=True)
        assert (link.step, link.state) == ("dataset", "broken")
        assert f"on other {digest}, the config on {published[1].digest}" in link.why


def test_a_store_that_is_away_breaks_nothing(s3: S3Store, published: tuple[str, Manifest]) -> None:
    """No answer is no contradiction."""
    away = replace(s3, endpoint_url=f"http://127.0.0.1:{free_ports().s3}", attempts=1)
    assert chain(published, away)["dataset"].state == "not verifiable here"


def test_weights_that_a_training_began_with_are_checked(s3: S3Store, places: settings.Settings) -> None:
    """By the sha256 in the config: there, doctored, and gone."""
    sha256 = put_by_digest(b"weights", s3, places.weights_uri)
    config = ExperimentConfig(name="tuned", model=TINY).with_fields({"train.initial_model": sha256})

    [link] = start_links(config, s3, places)
    assert link.state == "verified"
    s3.put(f"{places.weights_uri}/{sha256}", b"others")
    [link] = start_links(config, s3, places)
    assert (link.state, sha256 in link.why) == ("broken", True)
    assert list(start_links(ExperimentConfig(name="random", model=TINY), s3, places)) == []


def test_a_prediction_of_a_run_names_its_checkpoint(
    s3: S3Store, places: settings.Settings, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very checkpoint is verified by its bytes, though MLflow is away; another in its place is a broken link."""
    monkeypatch.setenv("ADODN_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_ports().mlflow}")
    settings.get.cache_clear()
    s3.put(f"{s3_folder}/state.pt", b"checkpoint")
    origin = ModelOrigin(
        source="run",
        run_id="1" * 32,
        checkpoint=s3_folder,
        fingerprint="0" * 12,
        sha256={"state.pt": hashlib.sha256(b"checkpoint").hexdigest()},
    )
    face = FacePrediction(landmarks=np.zeros((68, 2)))
    file = tmp_path / "predictions.json"
    file.write_text(Predictions.of(origin, b"image", "photo.jpg", [(0, 0, 1, 1)], [face]).to_json())

    assert [link.state for link in trace(str(file), settings.get()).links if link.step == "checkpoint"] == ["verified"]
    s3.put(f"{s3_folder}/state.pt", b"another")
    assert [link.step for link in trace(str(file), settings.get()).broken] == ["checkpoint"]
