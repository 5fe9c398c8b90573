"""The store without a server: addresses, pickling, secrets, and an endpoint that does not answer."""

import pickle
import socket

import pyarrow.fs
import pytest
from pydantic import SecretStr

from adodn.data.store import S3Store, parse_uri
from adodn.errors import StorageError
from adodn.settings import Settings
from adodn.train.distributed import filesystem


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def store(port: int = 9) -> S3Store:
    return S3Store(
        endpoint_url=f"http://127.0.0.1:{port}", access_key="name", secret_key=SecretStr("hush-hush"), attempts=2
    )


def credentials_of(places: Settings) -> tuple[str, str, str | None]:
    found = S3Store.from_settings(places)._client()._request_signer._credentials.get_frozen_credentials()
    return found.access_key, found.secret_key, found.token


def test_without_keys_boto3_and_pyarrow_find_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cloud, whose machines have a role; here the variables of AWS."""
    for name, value in {"ACCESS_KEY_ID": "found", "SECRET_ACCESS_KEY": "hush", "SESSION_TOKEN": "short"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    places = Settings(s3_access_key="", s3_secret_key=SecretStr(""), s3_region="eu-north-1")

    assert credentials_of(places) == ("found", "hush", "short")
    alike = pyarrow.fs.S3FileSystem(endpoint_override="127.0.0.1:8333", scheme="http", region="eu-north-1")
    assert filesystem(places).equals(alike)


def test_temporary_keys_have_a_token() -> None:
    """It goes with the process's own keys, and not with those of a role that has others."""
    hush = SecretStr("hush")
    places = Settings(s3_access_key="own", s3_secret_key=hush, s3_session_token=SecretStr("short"))
    roles = places.model_copy(update={"s3_shards_access_key": "shards", "s3_shards_secret_key": hush})

    assert credentials_of(places) == ("own", "hush", "short")
    assert "short" not in repr(places) + repr(S3Store.from_settings(places))
    assert S3Store.from_settings(roles, "shards").session_token.get_secret_value() == ""
    assert filesystem(places) != filesystem(places.model_copy(update={"s3_session_token": SecretStr("")}))


def test_an_address_is_bucket_and_key() -> None:
    """`s3://BUCKET/KEY` splits at the first slash after the bucket."""
    assert parse_uri("s3://adodn/datasets/300w/manifest.json") == ("adodn", "datasets/300w/manifest.json")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "adodn/key",
        "file:///etc/passwd",
        "http://adodn/key",
        "S3://adodn/key",
        "s3:///key",
        "s3://Adodn/key",
        "s3://a/key",
        "s3://adodn",
        "s3://adodn/",
        "s3://adodn//key",
        "s3://adodn/a//b",
        "s3://adodn/a/",
        "s3://adodn/../other/key",
        "s3://adodn/a/./b",
        "s3://adodn/a?b",
        "s3://adodn/a\nb",
        "s3://user:secret@adodn/key",
    ],
)
def test_other_addresses_are_refused(uri: str) -> None:
    """What is not strictly an object's address is an error that shows it."""
    with pytest.raises(StorageError) as error:
        parse_uri(uri)
    assert repr(uri) in str(error.value)


def test_a_store_survives_pickling() -> None:
    """A store can be sent to another process."""
    assert pickle.loads(pickle.dumps(store())) == store()


def test_the_secret_never_shows() -> None:
    """Neither repr nor an error holds the secret key."""
    assert "hush" not in repr(store())
    with pytest.raises(StorageError) as error:
        store(closed_port()).get("s3://adodn/key")
    assert "hush" not in str(error.value)


def test_an_endpoint_that_does_not_answer_is_named() -> None:
    """No server is one error with the endpoint in it, for reading and for writing."""
    port = closed_port()
    for action in (
        lambda s: s.get("s3://adodn/k"),
        lambda s: s.put("s3://adodn/k", b""),
        lambda s: s.head("s3://adodn/k"),
    ):
        with pytest.raises(StorageError, match=f"no answer from 'http://127.0.0.1:{port}'"):
            action(store(port))
