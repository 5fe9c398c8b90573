"""Objects on S3: the one place that talks to boto3. It knows nothing of datasets, and caches nothing.

store = S3Store.from_settings(settings.get())
store.put("s3://adodn/datasets/300w/…/manifest.json", data, if_absent=True)
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
from pydantic import SecretStr

from adodn.errors import StorageError
from adodn.settings import Settings

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9!_.*'()=@+,-][A-Za-z0-9!_.*'()=@+,/ -]*")
_BLOCK = 1 << 20
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """What the store says of an object without sending it."""

    uri: str
    bytes: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; empty in listings, which do not carry them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Store:
    """An S3 endpoint and the credentials for it.

    Cheap to copy and to pickle: the connection is opened on first use, once a process, and shared by its threads.
    Each call tries `attempts` times with growing, jittered pauses of at most 20 s, and one try waits at most 5 s for a
    connection and 60 s for an answer; so no call hangs for ever.

    Raises:
        StorageError: From every method: no such bucket or key, credentials refused, or no answer.
    """

    endpoint_url: str
    access_key: str
    secret_key: SecretStr
    region: str = "us-east-1"
    attempts: int = 5

    @staticmethod
    def from_settings(settings: Settings) -> "S3Store":
        """The store that the settings name."""
        return S3Store(
            endpoint_url=settings.s3_endpoint_url,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            region=settings.s3_region,
        )

    def get(self, uri: str) -> bytes:
        """The whole object."""
        bucket, key = parse_uri(uri)
        with self._errors(uri):
            body: bytes = self._client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def put(self, uri: str, data: bytes, *, if_absent: bool = False, metadata: Mapping[str, str] | None = None) -> bool:
        """Write an object in one piece; readers see the old one or the new one, never a part.

        Args:
            uri: Where.
            data: The bytes.
            if_absent: Leave an object that is already there as it is, even one that another writer is just making.
            metadata: Short strings, kept with the object.

        Returns:
            True if written; False if `if_absent` and an object was there.
        """
        bucket, key = parse_uri(uri)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            with self._errors(uri):
                self._client().put_object(Bucket=bucket, Key=key, Body=data, Metadata=dict(metadata or {}), **condition)
        except _AlreadyThereError:
            return False
        return True

    def head(self, uri: str) -> ObjectInfo | None:
        """Size and metadata, or None if there is no such object."""
        bucket, key = parse_uri(uri)
        try:
            with self._errors(uri):
                answer = self._client().head_object(Bucket=bucket, Key=key)
        except _NotThereError:
            return None
        metadata = {name.lower(): value for name, value in answer["Metadata"].items()}
        return ObjectInfo(uri=uri, bytes=answer["ContentLength"], metadata=metadata)

    def exists(self, uri: str) -> bool:
        """Whether there is such an object."""
        return self.head(uri) is not None

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """All objects whose address begins with `uri`, sorted; `s3://bucket` lists the whole bucket."""
        bucket, prefix = _parse_prefix(uri)
        with self._errors(uri):
            for page in self._client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    yield ObjectInfo(uri=f"s3://{bucket}/{entry['Key']}", bytes=entry["Size"])

    def download(self, uri: str, path: Path) -> None:
        """Copy an object to a file, which appears only when it is whole."""
        bucket, key = parse_uri(uri)
        aside = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with self._errors(uri), aside.open("wb") as file:
                body = self._client().get_object(Bucket=bucket, Key=key)["Body"]
                for block in body.iter_chunks(_BLOCK):
                    file.write(block)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is fine."""
        bucket, key = parse_uri(uri)
        with self._errors(uri):
            self._client().delete_object(Bucket=bucket, Key=key)

    def ensure_bucket(self, bucket: str) -> None:
        """Create a bucket unless it is there."""
        with self._errors(f"s3://{bucket}"):
            found = {entry["Name"] for entry in self._client().list_buckets()["Buckets"]}
            if bucket not in found:
                self._client().create_bucket(Bucket=bucket)

    def _client(self) -> Any:
        secret = self.secret_key.get_secret_value()
        with _lock:
            return _connect(os.getpid(), self.endpoint_url, self.access_key, secret, self.region, self.attempts)

    @contextmanager
    def _errors(self, uri: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise _explained(error, uri, self.endpoint_url) from None
        except (ConnectionError, HTTPClientError) as error:
            reason = type(error).__name__
            raise StorageError(
                f"{uri}: no answer from {self.endpoint_url!r} ({reason}); is the store running?"
            ) from None
        except BotoCoreError as error:
            raise StorageError(f"{uri}: request to {self.endpoint_url!r} failed: {error}") from None


class _AlreadyThereError(StorageError):
    """A conditional write met an object."""


class _NotThereError(StorageError):
    """The key does not exist."""


def parse_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://BUCKET/KEY`.

    Raises:
        StorageError: If it is not such an address, or its key has empty, `.` or `..` steps.
    """
    bucket, key = _parse_prefix(uri)
    if not _KEY.fullmatch(key) or any(step in ("", ".", "..") for step in key.split("/")):
        raise StorageError(f"an object's address is s3://BUCKET/KEY with a plain key, got {uri!r}")
    return bucket, key


def _parse_prefix(uri: str) -> tuple[str, str]:
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket):
        raise StorageError(f"an address begins with s3://BUCKET, got {uri!r}")
    return bucket, prefix


@lru_cache(maxsize=8)
def _connect(pid: int, endpoint_url: str, access_key: str, secret_key: str, region: str, attempts: int) -> Any:
    """The client of a process; `pid` keeps a forked child from using its parent's sockets."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=16,
            retries={"mode": "standard", "total_max_attempts": attempts},
            s3={"addressing_style": "path"},
        ),
    )


def _explained(error: ClientError, uri: str, endpoint_url: str) -> StorageError:
    code = error.response["Error"]["Code"]
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
        return _AlreadyThereError(f"{uri}: already there")
    if code == "NoSuchBucket":
        return StorageError(f"{uri}: the bucket does not exist at {endpoint_url!r}; create it or correct ADODN_BUCKET")
    if code in ("NoSuchKey", "404"):
        return _NotThereError(f"{uri}: no such object at {endpoint_url!r}")
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403"):
        return StorageError(
            f"{uri}: {endpoint_url!r} refused the credentials ({code}); "
            "check ADODN_S3_ACCESS_KEY and ADODN_S3_SECRET_KEY"
        )
    return StorageError(f"{uri}: {endpoint_url!r} answered {code}: {error.response['Error'].get('Message', '')}")
