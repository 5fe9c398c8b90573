"""A storage that takes no checkpoints: a few are done without, then there is one clear error.

pytest tests/storage/test_uploads.py
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.train.uploads import Uploads
from tests.fault_proxy import FaultProxy, answer

pytestmark = pytest.mark.integration
FULL = answer(403, "QuotaExceeded")


@pytest.fixture
def proxy(s3: S3Store) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def uploads(s3: S3Store, s3_folder: str, proxy: FaultProxy) -> Uploads:
    return Uploads(replace(s3, endpoint_url=proxy.url, pause_s=0.01), s3_folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state.pt"
    path.write_bytes(bytes(range(250)) * 50_000)
    return path


def full(proxy: FaultProxy, times: int) -> None:
    """The next checkpoints are refused."""
    proxy.spoil("PUT", "state.pt", FULL, times=times)


def test_what_was_sent_lies_there_whole(uploads: Uploads, file: Path, s3: S3Store) -> None:
    """Byte for byte."""
    folder_uri = uploads.send(file)

    assert s3.get(f"{folder_uri}/state.pt") == file.read_bytes()


def test_a_full_bucket_is_tolerated_twice_in_a_row(
    uploads: Uploads, file: Path, proxy: FaultProxy, s3: S3Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time with a warning that says why; a success begins the count anew; nothing half-sent is visible."""
    for _ in range(2):
        full(proxy, 1)
        assert uploads.send(file) is None
        full(proxy, 1)
        assert uploads.send(file) is None
        proxy.mend()
        assert uploads.send(file) is not None

    assert sum("QuotaExceeded" in record.message for record in caplog.records) == 4


def test_the_third_refusal_in_a_row_ends_the_training(
    uploads: Uploads, file: Path, proxy: FaultProxy, s3: S3Store, s3_folder: str
) -> None:
    """The error names the place, the reason and the way out."""
    full(proxy, 3)
    assert uploads.send(file) is None
    assert uploads.send(file) is None

    with pytest.raises(CheckpointError, match=r"3 times in a row: s3://.*checkpoint_.*Quota.*start the run again"):
        uploads.send(file)
    assert not [info for info in s3.list(s3_folder) if info.uri.endswith("state.pt")]
