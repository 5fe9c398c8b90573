"""Tests of what is kept on S3: on a real server of it, and on no other service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adodn import settings
from adodn.data.store import S3Store


@pytest.fixture
def places(s3: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[settings.Settings]:
    """Settings that name the S3 server alone."""
    monkeypatch.setenv("ADODN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ADODN_S3_ENDPOINT_URL", s3.endpoint_url)
    monkeypatch.setenv("ADODN_S3_ACCESS_KEY", s3.access_key)
    monkeypatch.setenv("ADODN_S3_SECRET_KEY", s3.secret_key.get_secret_value())
    settings.get.cache_clear()
    yield settings.get()
    settings.get.cache_clear()
