"""The store behind a network that fails: each operation succeeds after a few tries, or is one error by its deadline.

pytest tests/storage/test_store_faults.py
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adodn.data.store import S3Store
from adodn.errors import ConfigError, StorageError
from tests.fault_proxy import (
    Fault,
    FaultProxy,
    answer,
    cut_answer,
    drip,
    flipped_bit,
    late,
    lost_answer,
    reset_at_once,
    reset_in_answer,
    reset_in_request,
    stall,
    wrong_length,
)

pytestmark = pytest.mark.integration

LARGE = os.urandom(1_200_000)
SMALL = os.urandom(5_000)
ALWAYS = 1000


@pytest.fixture(scope="module")
def one_proxy(s3: S3Store) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint_url) as running:
        yield running


@pytest.fixture
def proxy(one_proxy: FaultProxy) -> FaultProxy:
    """One for all tests, because a client for another address takes a second to make."""
    one_proxy.mend()
    return one_proxy


@pytest.fixture
def through(s3: S3Store, proxy: FaultProxy) -> S3Store:
    """The store through the proxy. It waits long enough that a busy machine alone never makes it try again."""
    return replace(
        s3, endpoint_url=proxy.url, connect_timeout_s=60, read_timeout_s=60, deadline_s=300, pause_s=0.02, attempts=4
    )


def in_a_hurry(store: S3Store) -> S3Store:
    """One that takes an answer for lost after a second; a starved machine may cost it one try more."""
    return replace(store, connect_timeout_s=1, read_timeout_s=1, deadline_s=8)


SLOW = ("late", "stall")
"""Faults that only a timeout ends begin so."""


FAULTS: dict[str, Fault] = {
    "503 SlowDown": answer(503, "SlowDown"),
    "500 InternalError": answer(500, "InternalError"),
    "429": answer(429, "TooManyRequests"),
    "late beyond the timeout": late(2),
    "reset at once": reset_at_once,
    "reset in mid-body": reset_in_answer(),
    "stall before the answer": stall(2),
    "stall in mid-body": stall(2, share=0.5),
    "cut under the right length": cut_answer(),
    "length too large": wrong_length(1000),
    "length too small": wrong_length(-1000),
    "a flipped bit": flipped_bit,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_fault_15_reading_succeeds_once_the_fault_is_over(
    s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str, tmp_path: Path, fault: str, data: bytes
) -> None:
    """Fault 15: after two spoiled answers of any kind, the third gives the object's bytes, to memory and to file."""
    s3.put(f"{s3_folder}/a", data)
    slow = fault.startswith(SLOW)
    through = in_a_hurry(through) if slow else through
    for read in (through.get, lambda uri: (through.download(uri, tmp_path / "a"), (tmp_path / "a").read_bytes())[1]):
        before = proxy.seen("GET", "/a")
        proxy.spoil("GET", "/a", FAULTS[fault], times=2)
        assert read(f"{s3_folder}/a") == data
        tried = proxy.seen("GET", "/a") - before
        assert tried in (3, 4) if slow else tried == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_15_what_never_ends_is_one_error_by_the_deadline(
    s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str, tmp_path: Path, fault: str
) -> None:
    """Fault 15: a fault that stays is one error with object, operation and number of tries, and leaves no file."""
    s3.put(f"{s3_folder}/a", SMALL)
    proxy.spoil("GET", "/a", FAULTS[fault], times=ALWAYS)
    start = time.monotonic()
    with pytest.raises(
        StorageError, match=rf"^{s3_folder}/a: download: .*; tried [2-4] times in .* of at most 8 s; is "
    ):
        in_a_hurry(through).download(f"{s3_folder}/a", tmp_path / "a")
    assert time.monotonic() - start < 16
    assert proxy.seen("GET", "/a") <= 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bytes_per_s", [10_000, 1000, 50])
def test_fault_15_a_drip_is_waited_for_only_to_the_deadline(
    s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str, bytes_per_s: float
) -> None:
    """Fault 15: a body that keeps dripping, so that no read ever times out, still ends by the deadline."""
    s3.put(f"{s3_folder}/a", LARGE)
    proxy.spoil("GET", "/a", drip(bytes_per_s), times=ALWAYS)
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"too slow, \d+ of 1200000 bytes came.* of at most 3 s"):
        replace(in_a_hurry(through), deadline_s=3).get(f"{s3_folder}/a")
    assert time.monotonic() - start < 11  # at 10,000 bytes a second the whole body would take two minutes


def test_fault_15_a_slow_answer_is_waited_for(s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str) -> None:
    """Fault 15: a slow body that comes by the deadline is taken at the first try."""
    s3.put(f"{s3_folder}/a", SMALL)
    proxy.spoil("GET", "/a", drip(10_000))
    assert through.get(f"{s3_folder}/a") == SMALL
    assert proxy.seen("GET", "/a") == 1


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "refused the credentials"),
        (403, "ExpiredToken", "refused the credentials"),
        (404, "NoSuchKey", "no such object"),
        (404, "NoSuchBucket", "the bucket does not exist"),
    ],
)
def test_fault_15_refusals_are_not_tried_again(
    proxy: FaultProxy, through: S3Store, s3_folder: str, status: int, code: str, message: str
) -> None:
    """Fault 15: what another try cannot change is said at once, for reading and for writing."""
    for method, call in (("GET", through.get), ("PUT", lambda uri: through.put(uri, SMALL))):
        proxy.spoil(method, "/a", answer(status, code), times=ALWAYS)
        with pytest.raises(StorageError, match=message):
            call(f"{s3_folder}/a")
        assert proxy.seen(method, "/a") == 1


WRITING: dict[str, Fault] = {
    "503 SlowDown": answer(503, "SlowDown"),
    "500 InternalError": answer(500, "InternalError"),
    "409 while another writes": answer(409, "ConditionalRequestConflict"),
    "reset at once": reset_at_once,
    "reset in mid-body": reset_in_request(),
    "stall": stall(2),
    "lost answer": lost_answer,
    "late answer": late(2),
}


@pytest.mark.parametrize("fault", WRITING)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("if_absent", [True, False], ids=["if absent", "always"])
def test_fault_15_16_writing_succeeds_once_and_whole(
    s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str, fault: str, data: bytes, if_absent: bool
) -> None:
    """Faults 15 and 16: after a spoiled write the object is there, whole, and the writer knows it for its own.

    That holds where the server stored it and only the answer was lost, so that `If-None-Match` refuses the next try.
    """
    proxy.spoil("PUT", "/a", WRITING[fault])
    through = in_a_hurry(through) if fault.startswith(SLOW) else through
    assert through.put(f"{s3_folder}/a", data, if_absent=if_absent, metadata={"who": "me"})
    assert s3.get(f"{s3_folder}/a") == data
    found = s3.head(f"{s3_folder}/a")
    assert found is not None and found.metadata["who"] == "me"
    assert [info.uri for info in s3.list(s3_folder)] == [f"{s3_folder}/a"]


@pytest.mark.parametrize("fault", ["lost answer", "reset in mid-body", "503 SlowDown"])
def test_fault_16_a_retry_does_not_take_anothers_object_for_its_own(
    s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str, fault: str
) -> None:
    """Fault 16: where another writer's object was there first, a spoiled write says False and changes nothing."""
    s3.put(f"{s3_folder}/a", b"another's", if_absent=True)
    proxy.spoil("PUT", "/a", WRITING[fault])
    assert not through.put(f"{s3_folder}/a", SMALL, if_absent=True)
    assert s3.get(f"{s3_folder}/a") == b"another's"


def test_fault_17_a_write_that_never_gets_through_leaves_nothing(
    s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str
) -> None:
    """Fault 17: a body that breaks off every time is one error, and no object is to be seen."""
    proxy.spoil("PUT", "/a", reset_in_request(), times=ALWAYS)
    with pytest.raises(StorageError, match=r"/a: put: no answer .* tried 4 times"):
        through.put(f"{s3_folder}/a", LARGE)
    assert s3.head(f"{s3_folder}/a") is None


@pytest.mark.parametrize("call", [S3Store.head, S3Store.delete, lambda store, uri: list(store.list(uri))])
def test_fault_15_small_operations_are_tried_again(
    s3: S3Store, proxy: FaultProxy, through: S3Store, s3_folder: str, call: Callable[[S3Store, str], object]
) -> None:
    """Fault 15: looking, listing and deleting outlast two bad answers as well."""
    s3.put(f"{s3_folder}/a", SMALL)
    for method, path in (("HEAD", "/a"), ("DELETE", "/a"), ("GET", "/adodn")):
        proxy.spoil(method, path, answer(503, "SlowDown"))
        proxy.spoil(method, path, reset_at_once)
    call(through, f"{s3_folder}/a")
    assert sum(proxy.seen(*pair) for pair in (("HEAD", "/a"), ("DELETE", "/a"), ("GET", "/adodn"))) == 3


def test_fault_15_a_name_that_is_not_known_and_a_server_without_tls(s3: S3Store) -> None:
    """Fault 15: failures of DNS and of TLS are one error each, with the endpoint and the cause."""
    hasty = replace(s3, attempts=2, pause_s=0.01)
    with pytest.raises(StorageError, match=r"no answer from 'http://store\.invalid:1' \(EndpointConnectionError"):
        replace(hasty, endpoint_url="http://store.invalid:1").get("s3://adodn/a")
    with pytest.raises(StorageError, match=r"no answer from 'https://.*\(SSLError"):
        replace(hasty, endpoint_url=s3.endpoint_url.replace("http:", "https:")).get("s3://adodn/a")


def test_a_deadline_without_room_for_a_try_is_refused(s3: S3Store) -> None:
    """A deadline shorter than one try's timeouts could not be kept, and is an error at once."""
    with pytest.raises(ConfigError, match="ADODN_S3_DEADLINE_S"):
        replace(s3, deadline_s=1)
