"""The S3 server of the local stack, alone: for tests that need no more than it."""

import uuid
from collections.abc import Iterator

import pytest

from adodn.data.store import S3Store
from tests.benchmarks.s3_server import s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """A real S3 server of the session's own, with the bucket `adodn`."""
    with s3_server(tmp_path_factory.mktemp("s3")) as store:
        store.ensure_bucket("adodn")
        yield store


@pytest.fixture
def s3_folder(s3: S3Store) -> str:
    """A fresh place on it: `s3://adodn/…`, without a slash at the end."""
    return f"s3://adodn/{uuid.uuid4().hex}"
