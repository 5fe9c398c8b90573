"""Runs of sharding that are cut, at the same time, or over a bad network: what is published is always the same bytes.

pytest tests/storage/test_sharding_runs.py
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adodn import datasets, settings
from adodn.cli import build
from adodn.data.manifest import ImagePolicy
from adodn.data.preview import preview
from adodn.data.quarantine import BadBudget
from adodn.data.shards import MANIFEST, publish, publish_shard, read_manifest, shard_dataset, version_uri
from adodn.data.store import S3Store
from adodn.errors import AnnotationError, StorageError
from adodn.samples import FaceSample, SampleRef
from tests.fault_proxy import FaultProxy, answer, lost_answer, reset_at_once, reset_in_request
from tests.sharding_process import Made, planned, start

pytestmark = pytest.mark.integration

FACES = 44
"""35 faces of train less val, in shards of 4, and 9 of test: 13 shards."""


def contents(store: S3Store, base_uri: str) -> dict[str, bytes]:
    """Every object below a folder, by its address from there."""
    return {info.uri.removeprefix(f"{base_uri}/"): store.get(info.uri) for info in store.list(f"{base_uri}/")}


@pytest.fixture(scope="session")
def expected(s3: S3Store) -> dict[str, bytes]:
    """What one thread publishes without any trouble."""
    dataset = Made(faces=FACES)
    publish(dataset, s3, "s3://adodn/expected", planned(dataset), threads=1)
    published = contents(s3, "s3://adodn/expected")
    assert len(published) == 14
    return published


class Shuffled(Made):
    """Faces of which the later ones are read sooner, so that shards are done in another order."""

    def read(self, ref: SampleRef) -> FaceSample:
        time.sleep(0.0005 * (self.faces - int(ref.locator)) * (int(ref.locator) % 3))
        return super().read(ref)


@pytest.mark.parametrize("threads", [2, 5, 16])
def test_any_parallelism_gives_the_same_bytes(
    s3: S3Store, s3_folder: str, expected: dict[str, bytes], threads: int
) -> None:
    """However many threads work, and whichever is done first, each object has the bytes that one thread writes."""
    dataset = Shuffled(faces=FACES)
    told: list[int] = []
    publish(
        dataset, s3, s3_folder, planned(dataset), threads=threads, progress=lambda stage, done, all: told.append(done)
    )
    assert contents(s3, s3_folder) == expected
    assert told == sorted(told) and len(told) == 13 and told[-1] == FACES


def test_a_killed_run_is_invisible_and_goes_on(s3: S3Store, s3_folder: str, expected: dict[str, bytes]) -> None:
    """SIGKILL after the first shards leaves no manifest; the next run keeps those shards and ends at the same bytes."""
    process = start(s3, s3_folder, faces=FACES, pause_s=0.05)
    while len(left := list(s3.list(f"{s3_folder}/"))) < 2:
        assert process.poll() is None, "the process ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = list(s3.list(f"{s3_folder}/"))
    assert 2 <= len(left) < 13 and not any(info.uri.endswith(MANIFEST) for info in left)
    before = {info.uri: s3.head(info.uri) for info in left}
    dataset = Made(faces=FACES)
    publish(dataset, s3, s3_folder, planned(dataset))
    assert contents(s3, s3_folder) == expected
    assert {info.uri: s3.head(info.uri) for info in left} == before  # each put leaves another id


def test_two_runs_at_the_same_time_share_the_work(s3: S3Store, s3_folder: str, expected: dict[str, bytes]) -> None:
    """Two processes that shard the same dataset at once both succeed, with one result, which is that of one."""
    both = [start(s3, s3_folder, faces=FACES, pause_s=0.02, threads=threads) for threads in (1, 3)]
    said = [json.loads(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0]["uri"] == said[1]["uri"]
    assert contents(s3, s3_folder) == expected


def test_two_versions_at_the_same_time_do_not_touch_each_other(
    s3: S3Store, s3_folder: str, expected: dict[str, bytes]
) -> None:
    """Datasets that differ in one seed, sharded at once into one folder, become two versions, each of them whole."""
    both = [start(s3, s3_folder, faces=FACES, seed=seed, pause_s=0.01) for seed in (0, 1)]
    uris = [json.loads(process.communicate()[0])["uri"] for process in both]
    assert uris[0] != uris[1]
    published = contents(s3, s3_folder)
    assert expected.items() <= published.items() and len(published) == 28
    for uri in uris:
        manifest = read_manifest(s3, uri)
        assert sum(manifest.num_samples(split) for split in manifest.splits) == FACES


@pytest.mark.parametrize(
    "spoil",
    [
        lambda proxy: proxy.spoil("PUT", MANIFEST, lost_answer),
        lambda proxy: proxy.spoil("PUT", ".tar", lost_answer, times=4),
        lambda proxy: proxy.spoil("PUT", ".tar", reset_in_request(), times=4),
        lambda proxy: proxy.spoil("PUT", ".tar", answer(503, "SlowDown"), times=4),
        lambda proxy: [proxy.spoil(method, "", reset_at_once, times=4) for method in ("HEAD", "PUT")],
    ],
    ids=["lost manifest", "lost shards", "cut shards", "slow down", "resets"],
)
def test_faults_15_16_17_publish_the_same_once(
    s3: S3Store, s3_folder: str, expected: dict[str, bytes], spoil: Callable[[FaultProxy], object]
) -> None:
    """Faults 15, 16 and 17: bodies cut, answers lost and refusals on the way change no byte that is published."""
    dataset = Made(faces=FACES)
    with FaultProxy(s3.endpoint_url) as proxy:
        spoil(proxy)
        through = replace(s3, endpoint_url=proxy.url, pause_s=0.01)
        uri, manifest = publish(dataset, through, s3_folder, planned(dataset), threads=1)
        assert proxy.seen("PUT", "") > 14
    assert read_manifest(s3, uri) == manifest
    assert contents(s3, s3_folder) == expected


def test_fault_17_shards_that_never_get_through_publish_nothing(s3: S3Store, s3_folder: str) -> None:
    """Fault 17: when one shard cannot be written, the run ends with that shard's name and without a manifest."""
    dataset = Made(faces=FACES)
    with FaultProxy(s3.endpoint_url) as proxy:
        proxy.spoil("PUT", "train-000003.tar", reset_in_request(), times=99)
        through = replace(s3, endpoint_url=proxy.url, pause_s=0.01, attempts=2)
        with pytest.raises(StorageError, match=r"train-000003\.tar: put: no answer .* tried 2 times"):
            publish(dataset, through, s3_folder, planned(dataset))
    assert not any(info.uri.endswith((MANIFEST, "train-000003.tar")) for info in s3.list(s3_folder))


class Spoiled(Made):
    """Faces of which every tenth is no image."""

    def read(self, ref: SampleRef) -> FaceSample:
        sample = super().read(ref)
        return sample if int(ref.locator) % 10 else replace(sample, image=b"no image")


def test_bad_faces_are_published_only_as_reasons(s3: S3Store, s3_folder: str) -> None:
    """Beyond the budget nothing at all is written; within it the manifest names each face that is left out, and why."""
    dataset = Spoiled(faces=FACES)
    with pytest.raises(AnnotationError, match="5 of 44 faces cannot be stored"):
        shard_dataset(dataset, s3, s3_folder, ImagePolicy(), max_bad=BadBudget.parse("10%"))
    assert list(s3.list(s3_folder)) == []
    uri, manifest = shard_dataset(
        dataset, s3, s3_folder, ImagePolicy(), exclude={"k000000": "by hand"}, max_bad=BadBudget.parse("10%")
    )
    assert read_manifest(s3, uri) == manifest
    assert manifest.excluded == {"k000000": "by hand"}
    assert sorted(manifest.quarantined) == ["k000010", "k000020", "k000030", "k000040"]
    assert all("neither a JPEG nor a PNG" in reason for reason in manifest.quarantined.values())
    assert sum(manifest.num_samples(split) for split in manifest.splits) == 39


def test_a_preview_says_what_is_there_and_writes_nothing(s3: S3Store, s3_folder: str) -> None:
    """The preview names the shards that are in the store, then the manifest; and does without a store."""
    dataset = Made(faces=FACES)
    made = planned(dataset)
    folder = version_uri(s3_folder, made)
    publish_shard(dataset, s3, folder, made.splits["train"][2], made.policy)
    shown = preview(s3, s3_folder, made)
    assert [part.in_store for part in shown.splits.values()] == [("train-000002.tar",), (), ()]
    assert not shown.published and not shown.store_problem
    assert [info.uri for info in s3.list(s3_folder)] == [f"{folder}/train-000002.tar"]
    uri, _ = publish(dataset, s3, s3_folder, made)
    shown = preview(s3, s3_folder, made)
    assert shown.published and shown.manifest == uri
    assert sum(len(part.in_store) for part in shown.splits.values()) == 13
    without = preview(replace(s3, endpoint_url="http://127.0.0.1:9"), s3_folder, made)
    assert "no answer from 'http://127.0.0.1:9'" in without.store_problem
    assert (without.manifest, without.published) == (uri, False)


@pytest.fixture
def command(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`adodn shard …` on the server of these tests, in a bucket of its own."""
    bucket = f"b{os.urandom(8).hex()}"
    s3.ensure_bucket(bucket)
    places = {"S3_ENDPOINT_URL": s3.endpoint_url, "S3_ACCESS_KEY": s3.access_key, "BUCKET": bucket}
    for name, value in {**places, "S3_SECRET_KEY": s3.secret_key.get_secret_value()}.items():
        monkeypatch.setenv(f"ADODN_{name}", value)
    settings.get.cache_clear()
    counts = ("num_train=6", "num_val=1", "num_common=2", "num_challenging=1", "size_px=64")
    words = ["shard", "synthetic", *(word for count in counts for word in ("--option", count))]
    yield lambda *more: CliRunner().invoke(build("shard"), [*words, *more], catch_exceptions=True)
    settings.get.cache_clear()


def test_the_command_excludes_shows_and_shards(command: Any, s3: S3Store, tmp_path: Path) -> None:
    """`--dry-run` says what `adodn shard` then does, `--exclude` included, and writes nothing."""
    bucket = settings.get().bucket
    first = json.loads(command("--dry-run", "--json").stdout)
    listed = tmp_path / "excluded.csv"
    key = "rendered-train-000000"
    listed.write_text(f"key,reason\n{key},by hand\n")
    refused = command("--exclude", str(listed), "--dry-run")
    assert "1 of 1 faces to exclude are not in dataset 'synthetic': 'rendered-train-000000'" in str(refused.exception)
    key = datasets.open("synthetic", num_train=1).index()[0].key
    listed.write_text(f"key,reason\n{key},by hand\n")
    shown = json.loads(command("--exclude", str(listed), "--dry-run", "--json").stdout)
    assert shown["excluded"] == {key: "by hand"} and shown["version"] != first["version"]
    in_words = command("--exclude", str(listed), "--dry-run").stdout
    assert "1 faces left out as asked" in in_words and "nothing was written" in in_words
    assert list(s3.list(f"s3://{bucket}/")) == []
    made = json.loads(command("--exclude", str(listed), "--json").stdout)
    assert (made["manifest"], made["excluded"]) == (shown["manifest"], {key: "by hand"})
    assert read_manifest(s3, made["manifest"]).excluded == {key: "by hand"}
    assert "max_bad is a number of faces" in str(command("--max-bad", "some").exception)


def test_memory_does_not_grow_with_the_dataset(s3: S3Store, s3_folder: str) -> None:
    """Seven times the faces, 72 MB more of images, take at most 20 MB more memory."""
    sizes = []
    for faces in (100, 700):
        process = start(s3, f"{s3_folder}/{faces}", faces=faces, image_bytes=120_010, faces_per_shard=16)
        sizes.append(json.loads(process.communicate()[0])["peak_kb"] / 1000)
    assert sizes[1] - sizes[0] < 20
