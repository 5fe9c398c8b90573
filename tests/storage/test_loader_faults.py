"""The loader behind a network that fails: the same faces, or one error, and never a batch less.

pytest tests/storage/test_loader_faults.py
"""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adodn.data.cache import ShardCache
from adodn.data.manifest import Manifest
from adodn.data.store import S3Store
from adodn.errors import ShardError, StorageError
from tests.fault_proxy import (
    Fault,
    FaultProxy,
    answer,
    cut_answer,
    flipped_bit,
    reset_in_answer,
    stall,
    wrong_length,
)
from tests.shard_folder import loader_of, same, write_dataset

pytestmark = pytest.mark.integration

ALWAYS = 1000
FAULTS: dict[str, Fault] = {
    "fault 15: 503 SlowDown": answer(503, "SlowDown"),
    "fault 15: reset in mid-body": reset_in_answer(),
    "fault 15: stall in mid-body": stall(6, share=0.5),
    "fault 15: length too large": wrong_length(1000),
    "fault 1: cut under the right length": cut_answer(),
    "fault 3: a flipped bit": flipped_bit,
}


@pytest.fixture(scope="module")
def proxy(s3: S3Store) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint_url) as running:
        yield running


@pytest.fixture
def through(s3: S3Store, proxy: FaultProxy) -> S3Store:
    """The store through the proxy, in a hurry, with nothing spoiled yet."""
    proxy.mend()
    return replace(
        s3, endpoint_url=proxy.url, connect_timeout_s=4, read_timeout_s=4, deadline_s=60, pause_s=0.02, attempts=4
    )


@pytest.fixture
def manifest(s3: S3Store, s3_folder: str, tmp_path: Path) -> Manifest:
    """Three shards on S3."""
    made = write_dataset(tmp_path, (5, 4, 7))
    for entry in made.splits["train"]:
        s3.put(f"{s3_folder}/{entry.name}", (tmp_path / entry.name).read_bytes())
    return made


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_changes_no_batch(
    name: str, tmp_path: Path, manifest: Manifest, s3_folder: str, proxy: FaultProxy, through: S3Store
) -> None:
    """Where each shard's first download fails, an epoch is what it is from a folder on this machine."""
    for entry in manifest.splits["train"]:
        proxy.spoil("GET", entry.name, FAULTS[name], times=1)

    spoiled = loader_of(
        tmp_path, manifest, base_uri=s3_folder, source=through, cache=ShardCache(tmp_path / "fresh", 10**9)
    )
    batches = list(spoiled)

    assert len(batches) == 4
    assert all(same(a, b) for a, b in zip(batches, loader_of(tmp_path, manifest), strict=True))
    assert all(proxy.seen("GET", entry.name) >= 2 for entry in manifest.splits["train"])


@pytest.mark.parametrize(
    ("fault", "error"), [(answer(503, "SlowDown"), StorageError), (flipped_bit, (ShardError, StorageError))]
)
def test_a_fault_that_stays_is_one_error(
    fault: Fault,
    error: type[Exception],
    tmp_path: Path,
    manifest: Manifest,
    s3_folder: str,
    proxy: FaultProxy,
    through: S3Store,
) -> None:
    """The error names the shard, nothing of it is kept, and no thread is left behind."""
    entry = manifest.splits["train"][1]
    proxy.spoil("GET", entry.name, fault, times=ALWAYS)
    cache = ShardCache(tmp_path / "fresh", 10**9)

    with pytest.raises(error, match=entry.name):
        list(loader_of(tmp_path, manifest, base_uri=s3_folder, source=through, cache=cache))

    assert not cache.path(entry).exists()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("adodn-")] == []
