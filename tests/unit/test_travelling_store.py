"""The store that Ray is given: it reaches other processes without its keys.

pytest tests/unit/test_travelling_store.py
"""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.fs
import pytest
from ray import cloudpickle

from adodn import settings
from adodn.train.distributed import filesystem

KEYS = ("of-the-driver", "driver-secret-0123456789"), ("of-the-worker", "worker-secret-0123456789")


def enter(monkeypatch: pytest.MonkeyPatch, access_key: str, secret_key: str) -> settings.Settings:
    monkeypatch.setenv("ADODN_S3_ACCESS_KEY", access_key)
    monkeypatch.setenv("ADODN_S3_SECRET_KEY", secret_key)
    settings.get.cache_clear()
    return settings.get()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[settings.Settings]:
    monkeypatch.setenv("ADODN_HOME", str(tmp_path))
    monkeypatch.setenv("ADODN_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    yield enter(monkeypatch, *KEYS[0])
    settings.get.cache_clear()


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_pickled_store_holds_no_key(
    places: settings.Settings, monkeypatch: pytest.MonkeyPatch, dumps: Callable[[object], bytes]
) -> None:
    """Neither the driver's; where it is read it has the keys of that process, and the place it had."""
    written = dumps(filesystem(places))
    assert not [key for pair in KEYS for key in pair if key.encode() in written]
    assert b"127.0.0.1:9" in written
    there = enter(monkeypatch, *KEYS[1])
    assert pickle.loads(written) == filesystem(there) != filesystem(places)


def test_workers_have_the_places_of_the_driver_and_keys_of_their_own(
    places: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `ADODN_BUCKET=other adodn train` would save to the nodes' bucket, and look for it in its own."""
    driver = places.model_copy(update={"bucket": "other", "log_format": "json", "mlflow_tracking_uri": "https://m:1"})
    assert not [key for pair in KEYS for key in pair if key in str(driver.shared)]

    worker = enter(monkeypatch, *KEYS[1]).model_copy(update=driver.shared)

    assert (worker.runs_uri, worker.weights_uri) == (driver.runs_uri, driver.weights_uri)
    assert worker.s3_endpoint_url == driver.s3_endpoint_url and worker.log_format == "json"
    assert worker.mlflow_tracking_uri == "https://m:1" and worker.s3_access_key == KEYS[1][0]


@pytest.mark.parametrize("uri", ["https://me:secret@m", "postgresql://me:secret@m/db", "sqlite:///here.db"])
def test_an_address_with_a_password_does_not_travel(places: settings.Settings, uri: str) -> None:
    """MLflow's may have one; a file is not there on another machine."""
    assert "mlflow_tracking_uri" not in places.model_copy(update={"mlflow_tracking_uri": uri}).shared


def test_the_plain_store_would_tell(places: settings.Settings) -> None:
    """Why there is a class of our own."""
    assert KEYS[0][1].encode() in pickle.dumps(pyarrow.fs.S3FileSystem(access_key=KEYS[0][0], secret_key=KEYS[0][1]))
