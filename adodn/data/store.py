"""Objects on S3: the one place that talks to boto3. It knows nothing of datasets, and caches nothing.

store = S3Store.from_settings(settings.get())
store.put("s3://adodn/datasets/300w/…/manifest.json", data, if_absent=True)

Retries are our own, not botocore's, which begin none once an answer's body is being read and know no deadline.
"""

import io
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar
from uuid import uuid4

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)
from botocore.parsers import ResponseParserError
from pydantic import SecretStr

from adodn.data.retries import Tries
from adodn.errors import ConfigError, StorageError
from adodn.settings import S3Role, Settings

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9!_.*'()=@+,-][A-Za-z0-9!_.*'()=@+,/ -]*")
_FIRST_BLOCK, _LAST_BLOCK = 16, 1 << 18
_STREAMED = 1 << 20
"""A body from here on is sent in blocks, with a look at the clock before each."""
_WRITER = "put-id"
_NO_ANSWER = (ConnectionError, HTTPClientError, urllib3.exceptions.HTTPError)
_DAMAGED = (IncompleteReadError, FlexibleChecksumError, ResponseParserError)
_TRANSIENT_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ConditionalRequestConflict"})
_NO_TOKEN = SecretStr("")
_CHECK_KEYS = "check ADODN_S3_ACCESS_KEY and ADODN_S3_SECRET_KEY"
_lock = threading.Lock()

_T = TypeVar("_T")
_Request: TypeAlias = Callable[[Any, Tries], _T]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """What the store says of an object without sending it."""

    uri: str
    bytes: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; empty in listings, which do not carry them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Store:
    """An S3 endpoint and the credentials for it; an empty access key: those that boto3 finds by itself.

    Cheap to copy and to pickle: the connection is opened on first use, once a process, and shared by its threads.

    Every operation is tried again, after a jittered pause, when there is no answer, the answer is cut or damaged, or
    the store says that it is overloaded or broken (5xx, 429). A refusal (403), a missing object (404) and any other
    answer are final. An operation ends by its deadline, all tries together.

    Raises:
        ConfigError: If the deadline leaves no time for one try.
        StorageError: From every method: no such bucket or key, credentials refused, or no whole answer by the
            deadline; the message has the address, the operation, how often and how long it was tried.
    """

    endpoint_url: str
    access_key: str
    secret_key: SecretStr
    session_token: SecretStr = _NO_TOKEN
    region: str = "us-east-1"
    attempts: int = 5
    connect_timeout_s: float = 5
    read_timeout_s: float = 30
    """Longest silence of the store."""
    deadline_s: float = 300
    """Of one operation, all its tries and pauses; of a listing, of each page."""
    pause_s: float = 1
    """Longest pause after the first try; it doubles with every other."""
    end: float = math.inf
    """When, by the monotonic clock, all operations must be done (`within`)."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.deadline_s < self._step_s:
            raise ConfigError(
                "S3 needs at least one attempt, and a deadline no shorter than connect and read timeout together; got "
                f"{self.attempts} attempts, {self.deadline_s:g} s, {self.connect_timeout_s:g} s and "
                f"{self.read_timeout_s:g} s; correct ADODN_S3_DEADLINE_S or the timeouts"
            )

    @staticmethod
    def from_settings(settings: Settings, role: S3Role = "own") -> "S3Store":
        """The store that the settings name, with their credentials for a kind of work."""
        access_key, secret_key = settings.s3_keys(role)
        own = access_key == settings.s3_access_key
        return S3Store(
            endpoint_url=settings.s3_endpoint_url,
            access_key=access_key,
            secret_key=secret_key,
            session_token=settings.s3_session_token if own else _NO_TOKEN,
            region=settings.s3_region,
            attempts=settings.s3_attempts,
            connect_timeout_s=settings.s3_connect_timeout_s,
            read_timeout_s=settings.s3_read_timeout_s,
            deadline_s=settings.s3_deadline_s,
        )

    def within(self, seconds: float) -> "S3Store":
        """The store, for operations that must all be done so many seconds from now; none begins later."""
        return replace(self, end=time.monotonic() + seconds)

    def get(self, uri: str) -> bytes:
        """The whole object; its length, and its checksum where the store keeps one, are those that the store says."""
        return self.get_version(uri)[0]

    def get_version(self, uri: str) -> tuple[bytes, str]:
        """As `get`, with the version that `replace` asks for."""
        bucket, key = parse_uri(uri)

        def request(client: Any, tries: Tries) -> tuple[bytes, str]:
            buffer = io.BytesIO()
            answer = client.get_object(Bucket=bucket, Key=key)
            _receive(answer, buffer, tries)
            return buffer.getvalue(), answer["ETag"]

        return self._tried("get", uri, request)

    def put(self, uri: str, data: bytes, *, if_absent: bool = False, metadata: Mapping[str, str] | None = None) -> bool:
        """Write an object in one piece; readers see the old one or the new one, never a part.

        Args:
            uri: Where.
            data: The bytes.
            if_absent: Leave an object that is already there as it is, even one that another writer is just making.
            metadata: Short strings, kept with the object.

        Returns:
            True if written; False if `if_absent` and another writer's object was there.
        """
        return self._put(uri, data, metadata or {}, {"IfNoneMatch": "*"} if if_absent else {}) is not None

    def replace(self, uri: str, data: bytes, version: str | None) -> str | None:
        """Write an object unless another writer has written it since it was read.

        Args:
            uri: Where.
            data: The bytes; other bytes than any version before, as the store tells versions apart by them.
            version: What was read (`get_version`); None: there was no such object.

        Returns:
            The new version; None if another writer came first.
        """
        return self._put(uri, data, {}, {"IfMatch": version} if version else {"IfNoneMatch": "*"})

    def _put(self, uri: str, data: bytes, metadata: Mapping[str, str], condition: Mapping[str, str]) -> str | None:
        """The new version, or None where the condition does not hold."""
        bucket, key = parse_uri(uri)
        writer = uuid4().hex

        def request(client: Any, tries: Tries) -> str | None:
            body = data if len(data) < _STREAMED else _Outgoing(data, tries)
            named = dict(metadata) | {_WRITER: writer}
            try:
                answer = client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=named, **condition)
            except ClientError as error:
                if not condition or _code(error) not in ("PreconditionFailed", "412"):
                    raise
                # The answer to an earlier try may have been lost: then the object that is there is this writer's own.
                there = client.head_object(Bucket=bucket, Key=key) if tries.count > 1 else None
                return str(there["ETag"]) if there and there["Metadata"].get(_WRITER) == writer else None
            return str(answer["ETag"])

        return self._tried("put", uri, request)

    def head(self, uri: str) -> ObjectInfo | None:
        """Size and metadata, or None if there is no such object."""
        bucket, key = parse_uri(uri)
        try:
            answer = self._tried("head", uri, lambda client, _: client.head_object(Bucket=bucket, Key=key))
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
        wanted = {"Bucket": bucket, "Prefix": prefix}
        while True:
            page = self._tried("list", uri, lambda client, _: client.list_objects_v2(**wanted))
            for entry in page.get("Contents", ()):
                yield ObjectInfo(uri=f"s3://{bucket}/{entry['Key']}", bytes=entry["Size"])
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def check(self, uri: str) -> None:
        """Ask whether the bucket is there and may be read, before long work whose result goes to it."""
        next(self.list(uri), None)

    def download(self, uri: str, path: Path) -> None:
        """Copy an object to a file, which appears only when it is whole."""
        bucket, key = parse_uri(uri)
        aside = path.with_name(f".{path.name}.{uuid4().hex}")

        def request(client: Any, tries: Tries) -> None:
            with aside.open("wb") as file:
                _receive(client.get_object(Bucket=bucket, Key=key), file, tries)

        try:
            self._tried("download", uri, request)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is fine."""
        bucket, key = parse_uri(uri)
        self._tried("delete", uri, lambda client, _: client.delete_object(Bucket=bucket, Key=key))

    def ensure_bucket(self, bucket: str) -> None:
        """Create a bucket unless it is there."""
        uri = f"s3://{bucket}"
        found = self._tried("list buckets", uri, lambda client, _: client.list_buckets())["Buckets"]
        if bucket not in {entry["Name"] for entry in found}:
            self._tried("create bucket", uri, lambda client, _: client.create_bucket(Bucket=bucket))

    @property
    def _step_s(self) -> float:
        return self.connect_timeout_s + self.read_timeout_s

    def _client(self) -> Any:
        keys = self.access_key, self.secret_key.get_secret_value(), self.session_token.get_secret_value()
        timeouts = self.connect_timeout_s, self.read_timeout_s
        with _lock:
            return _connect(os.getpid(), self.endpoint_url, keys, self.region, timeouts)

    def _tried(self, operation: str, uri: str, request: _Request[_T]) -> _T:
        client = self._client()
        deadline_s = min(self.deadline_s, self.end - time.monotonic())
        if deadline_s <= 0:
            raise StorageError(f"{uri}: {operation}: no time is left, what came before it took too long")
        tries = Tries(attempts=self.attempts, deadline_s=deadline_s, step_s=self._step_s, pause_s=self.pause_s)
        while True:
            try:
                return request(client, tries)
            except ClientError as error:
                if not _is_transient(error):
                    raise _explained(error, uri, self.endpoint_url) from None
                reason = f"{self.endpoint_url!r} answered {_code(error)}: {_message(error)}"
            except _DAMAGED as error:
                reason = f"the answer from {self.endpoint_url!r} is cut or damaged: {error}"
            except _NO_ANSWER as error:
                reason = f"no answer from {self.endpoint_url!r} ({type(error).__name__}: {error})"
            except NoCredentialsError:
                raise StorageError(f"{uri}: no credentials for {self.endpoint_url!r}; {_CHECK_KEYS}") from None
            except BotoCoreError as error:
                raise StorageError(f"{uri}: {operation} at {self.endpoint_url!r} failed: {error}") from None
            if not tries.pause():
                raise StorageError(
                    f"{uri}: {operation}: {reason}; tried {tries.count} times in {tries.elapsed_s:.1f} s of at most "
                    f"{deadline_s:g} s; is the store running and within reach? ADODN_S3_DEADLINE_S allows more"
                )


class _NotThereError(StorageError):
    """The key does not exist."""


class _Outgoing(io.BytesIO):
    """A body that is not sent beyond the deadline, however slowly the store takes it."""

    def __init__(self, data: bytes, tries: Tries) -> None:
        super().__init__(data)
        self._tries = tries

    def read(self, size: int | None = -1, /) -> bytes:
        if self._tries.left_s <= 0:
            raise TimeoutError("the store takes the object too slowly")
        return super().read(size)


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
def _connect(
    pid: int, endpoint_url: str, keys: tuple[str, str, str], region: str, timeouts: tuple[float, float]
) -> Any:
    """The client of a process; `pid` keeps a forked child from using its parent's sockets."""
    access_key, secret_key, session_token = keys if keys[0] else ("", "", "")
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key or None,  # boto3 would sign with an empty one
        aws_secret_access_key=secret_key or None,
        aws_session_token=session_token or None,
        region_name=region,
        config=Config(
            connect_timeout=timeouts[0],
            read_timeout=timeouts[1],
            max_pool_connections=16,
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )


def _receive(answer: Mapping[str, Any], sink: IO[bytes], tries: Tries) -> None:
    """Copy an answer's body, all of it.

    A read ends only when its block is full. So blocks are small at first, and no larger than what comes, at the pace of
    the last one, in a small part of the time that is left: a body that drips does not outlast the deadline.
    """
    body, received, size = answer["Body"], 0, _FIRST_BLOCK
    while True:
        start = time.monotonic()
        block = body.read(size)
        if not block:
            break
        sink.write(block)
        received += len(block)
        pace = len(block) / max(time.monotonic() - start, 1e-6)
        size = max(1, int(min(_LAST_BLOCK, 2 * size, pace * tries.left_s / 8)))
        if tries.left_s <= 0:
            body.close()
            raise HTTPClientError(error=f"too slow, {received} of {answer['ContentLength']} bytes came")
    if received != answer["ContentLength"]:
        raise IncompleteReadError(actual_bytes=received, expected_bytes=answer["ContentLength"])


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _message(error: ClientError) -> str:
    return str(error.response["Error"].get("Message", ""))


def _is_transient(error: ClientError) -> bool:
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    return status >= 500 or status == 429 or _code(error) in _TRANSIENT_CODES


def _explained(error: ClientError, uri: str, endpoint_url: str) -> StorageError:
    code = _code(error)
    if code == "NoSuchBucket":
        return StorageError(f"{uri}: the bucket does not exist at {endpoint_url!r}; create it or correct ADODN_BUCKET")
    if code in ("NoSuchKey", "404"):
        return _NotThereError(f"{uri}: no such object at {endpoint_url!r}")
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "403"):
        return StorageError(f"{uri}: {endpoint_url!r} refused the credentials ({code}); {_CHECK_KEYS}")
    return StorageError(f"{uri}: {endpoint_url!r} answered {code}: {_message(error)}")
