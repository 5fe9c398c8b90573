"""A storage that takes no checkpoints: a few are done without, then there is one clear error.

pytest tests/storage/test_uploads.py
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.train.uploads import Uploads
from tests.fault_proxy import FaultProxy, answer

pytestmark = pytest.mark.integration
FULL = answer(403, "QuotaExceeded")
CONTENT = bytes(range(250)) * 50_000


@pytest.fixture
def proxy(s3: S3Store) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def write(s3: S3Store, s3_folder: str, proxy: FaultProxy) -> Callable[[], None]:
    """Sends a checkpoint through the proxy."""
    store = replace(s3, endpoint_url=proxy.url, pause_s=0.01)

    def put() -> None:
        store.put(f"{s3_folder}/state.pt", CONTENT)

    return put


def full(proxy: FaultProxy, times: int) -> None:
    """The next checkpoints are refused."""
    proxy.spoil("PUT", "state.pt", FULL, times=times)


def test_the_training_does_not_wait_for_a_write_but_the_next_does() -> None:
    """`start` returns while the write runs; a second one begins only when the first is done."""
    may_end, events = threading.Event(), list[str]()

    def slow() -> None:
        assert may_end.wait(600)
        events.append("first is done")

    uploads = Uploads()
    uploads.start(slow)
    events.append("training goes on")
    may_end.set()
    uploads.start(lambda: events.append("second is done"))
    uploads.finish()

    assert events == ["training goes on", "first is done", "second is done"]


def test_a_full_bucket_is_tolerated_twice_in_a_row(
    write: Callable[[], None], proxy: FaultProxy, s3: S3Store, s3_folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time with a warning that says why; a success begins the count anew; all are counted."""
    uploads = Uploads()
    for _ in range(2):
        for _ in range(2):
            full(proxy, 1)
            uploads.start(write)
            uploads.settle()
        proxy.mend()
        uploads.start(write)
        uploads.settle()

    assert sum("QuotaExceeded" in record.message for record in caplog.records) == uploads.failures == 4
    assert s3.get(f"{s3_folder}/state.pt") == CONTENT


def test_the_third_refusal_in_a_row_ends_the_training(
    write: Callable[[], None], proxy: FaultProxy, s3: S3Store, s3_folder: str
) -> None:
    """The error names the place, the reason and the way out; nothing half-sent is visible."""
    uploads = Uploads()
    full(proxy, 3)
    for _ in range(3):
        uploads.start(write)

    with pytest.raises(CheckpointError, match=r"3 times in a row: s3://.*state.pt.*Quota.*start the run again"):
        uploads.settle()
    assert not s3.exists(f"{s3_folder}/state.pt")


def test_the_last_write_of_a_training_is_tried_again(
    write: Callable[[], None], proxy: FaultProxy, s3: S3Store, s3_folder: str
) -> None:
    """Else its best weights might be lost for one refusal."""
    uploads = Uploads()
    full(proxy, 2)
    uploads.start(write)
    uploads.finish()

    assert (uploads.failures, s3.get(f"{s3_folder}/state.pt")) == (2, CONTENT)


def test_an_error_of_our_own_is_not_a_failure_to_tolerate() -> None:
    """What the write itself says, such as that another process saves this run, comes to whoever trains."""

    def refused() -> None:
        raise CheckpointError("another")

    uploads = Uploads()
    uploads.start(refused)

    with pytest.raises(CheckpointError, match=r"^another$"):
        uploads.finish()
