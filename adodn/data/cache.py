"""Verified copies of shards on this machine, content-addressed, shared by all its processes.

Knows bytes and digests only; what a face is, `loader.py` knows. A file is trusted by a process once its sha256 has been
checked there, and as long as its size and modification time stay the same. The time of last use is kept as access time.

    cache = ShardCache(Path("~/.cache/adodn").expanduser(), max_bytes=50_000_000_000)
    shard = cache.open(entry, uri="s3://bucket/datasets/300w/1/train-000000.tar", source=store)
    shard.image(0), shard.record(0)
"""

import errno
import hashlib
import io
import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from filelock import FileLock

from adodn.data.manifest import ShardEntry
from adodn.data.tarindex import FaceSpans, Span, index_tar
from adodn.errors import ConfigError, ShardError

_LOG = logging.getLogger(__name__)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT)
_MAX_OPEN = 256
"""Shards that one process holds open; systems allow it about a thousand files."""
_WALK_SHARE = 20
"""The folder is measured anew after this process has stored one part in so many of its bound."""

_Stamp: TypeAlias = tuple[int, int, int]
"""Size, modification time and inode of a file."""


class ShardSource(Protocol):
    """Where shards come from. Called from several threads at once."""

    def get(self, uri: str) -> bytes:
        """The whole object at that address.

        Raises:
            StorageError: If it does not exist, or the store does not answer.
        """
        ...


class CachedShard:
    """One verified shard, open for random reads from any thread.

    A file that is deleted meanwhile stays readable until this object is gone.

    Raises:
        ShardError: If the tar is not what its manifest promises.
    """

    def __init__(self, content: "int | bytes", *, uri: str, num_samples: int) -> None:
        self.uri = uri
        self._content = content
        if isinstance(content, int):
            weakref.finalize(self, os.close, content)
        self.stamp = self._now()
        with _handle(content) as handle:
            self.faces: list[FaceSpans] = index_tar(handle, where=uri, num_samples=num_samples)

    def unchanged(self) -> bool:
        """Whether the file is still the one that was verified, by size and modification time."""
        return self._now() == self.stamp

    def image(self, position: int) -> bytes:
        """The encoded image of the face at that place in the tar."""
        return self._span(self.faces[position].image)

    def record(self, position: int) -> bytes:
        """The JSON record of the face at that place in the tar."""
        return self._span(self.faces[position].record)

    def _span(self, span: Span) -> bytes:
        if isinstance(self._content, bytes):
            return self._content[span.offset : span.offset + span.size]
        return os.pread(self._content, span.size, span.offset)

    def _now(self) -> _Stamp:
        return (len(self._content), 0, 0) if isinstance(self._content, bytes) else _stamp(self._content)


class ShardCache:
    """A folder of verified shards, bounded in size.

    Files least recently used go first, but never those that this process has open: the bound is exceeded rather than a
    running epoch disturbed. At most 256 shards are open at a time, the latest ones.

    Args:
        root: The folder; made when missing.
        max_bytes: Size that the folder is kept below.

    Raises:
        ConfigError: If the folder cannot be made.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root.expanduser()
        self._max_bytes = max_bytes
        self._open: OrderedDict[str, CachedShard] = OrderedDict()
        self._stamps: dict[str, _Stamp] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._room = 0
        self._room_lock = threading.Lock()
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise self._not_writable(cause) from cause

    def open(self, entry: ShardEntry, *, uri: str, source: ShardSource) -> CachedShard:
        """A verified shard, from this machine where possible, else from its source.

        Args:
            entry: The shard, as the manifest names it.
            uri: Where it lies in the source.
            source: Asked only when the shard is not here, or damaged here.

        Raises:
            ShardError: If the source holds other bytes than the manifest names, or the tar is not well-formed.
            StorageError: If the source does not answer.
            ConfigError: If the folder cannot be written; that it is full is no error.
            OSError: If this process may not open any more files.
        """
        shard = self._open.get(entry.sha256)
        if shard is not None and shard.unchanged():
            return shard
        with self._locks.setdefault(entry.sha256, threading.Lock()):
            shard = self._open.get(entry.sha256)
            if shard is None or not shard.unchanged():
                shard = CachedShard(self._content(entry, uri, source), uri=uri, num_samples=entry.samples)
                self._stamps[entry.sha256] = shard.stamp
                self._open[entry.sha256] = shard
                while len(self._open) > _MAX_OPEN:
                    self._open.popitem(last=False)
        return shard

    def path(self, entry: ShardEntry) -> Path:
        """Where the shard lies when it is here."""
        return self._root / entry.sha256[:2] / f"{entry.sha256}.tar"

    def _content(self, entry: ShardEntry, uri: str, source: ShardSource) -> int | bytes:
        here = self._verified(entry)
        if here is not None:
            return here
        with self._locked(entry):
            here = self._verified(entry)
            return here if here is not None else self._store(entry, _download(entry, uri, source))

    @contextmanager
    def _locked(self, entry: ShardEntry) -> Iterator[None]:
        """Only one process and thread of this machine at a time may fetch a shard."""
        path = self.path(entry)
        lock = FileLock(path.with_suffix(".lock"))
        try:
            path.parent.mkdir(exist_ok=True)
            lock.acquire()
        except OSError as cause:
            if cause.errno in _OUT_OF_DESCRIPTORS:  # the process's own trouble, which a new one has not
                raise
            if cause.errno not in _OUT_OF_ROOM:
                raise self._not_writable(cause) from cause
            yield  # nothing can be written here, so nobody has to be kept from it
            return
        try:
            yield
        finally:
            lock.release()

    def _not_writable(self, cause: OSError) -> ConfigError:
        return ConfigError(f"cache folder {str(self._root)!r} cannot be written ({cause}); set ADODN_CACHE_DIR")

    def _verified(self, entry: ShardEntry) -> int | None:
        path = self.path(entry)
        try:
            content = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        if self._stamps.get(entry.sha256) == _stamp(content) or _has(content, entry):
            with suppress(OSError):  # a cache that others own can be read, but not marked as used
                os.utime(content, ns=(time.time_ns(), os.fstat(content).st_mtime_ns))
            return content
        os.close(content)
        _LOG.warning("%s is damaged; fetching it again", path)
        return None

    def _store(self, entry: ShardEntry, data: bytes) -> int | bytes:
        self._make_room(entry.bytes)
        for last_try in (False, True):
            try:
                return _write(self.path(entry), data)
            except OSError as cause:
                if cause.errno not in _NO_ROOM:
                    raise self._not_writable(cause) from cause
                if not last_try:
                    self._evict(0)
        _LOG.warning("no room for %s of %d bytes in %s; keeping it in memory", entry.name, entry.bytes, self._root)
        return data

    def _make_room(self, size: int) -> None:
        """Room for a file; a large folder is not walked for each, since that takes long."""
        with self._room_lock:
            self._room -= size
            if self._room < 0:
                share = self._max_bytes // _WALK_SHARE
                total = self._evict(self._max_bytes - size - (share if share >= size else 0))
                self._room = min(share, self._max_bytes - size - total)

    def _evict(self, target_bytes: int) -> int:
        """Bring the folder to `target_bytes` as far as it can be; answers its bytes then."""
        files = sorted(_stats(self._root), key=lambda pair: pair[1].st_atime_ns)
        total = sum(stat.st_size for _, stat in files)
        for path, stat in files:
            if total <= target_bytes:
                break
            if path.stem not in self._open:
                path.unlink(missing_ok=True)
                total -= stat.st_size
        return total


def _stamp(content: int) -> _Stamp:
    stat = os.fstat(content)
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _has(content: int, entry: ShardEntry) -> bool:
    with _handle(content) as handle:
        return os.fstat(content).st_size == entry.bytes and (
            hashlib.file_digest(handle, "sha256").hexdigest() == entry.sha256
        )


def _handle(content: int | bytes) -> io.BytesIO | io.BufferedReader:
    # The descriptor is duplicated because closing the handle must not close it; readers use pread, so the offset that
    # the two share does not matter.
    if isinstance(content, bytes):
        return io.BytesIO(content)
    handle = os.fdopen(os.dup(content), "rb")
    handle.seek(0)
    return handle


def _stats(root: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in root.glob("??/*.tar"):
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:
            continue  # another process evicted it
    return found


def _download(entry: ShardEntry, uri: str, source: ShardSource) -> bytes:
    found = ""
    for _ in range(2):
        _LOG.info("fetching %s, %d bytes", uri, entry.bytes)
        data = source.get(uri)
        digest = hashlib.sha256(data).hexdigest()
        if len(data) == entry.bytes and digest == entry.sha256:
            return data
        found = f"{len(data)} bytes with sha256 {digest}"
    raise ShardError(
        f"{uri}: must be {entry.bytes} bytes with sha256 {entry.sha256}, found {found} in two downloads; "
        "shard the dataset again"
    )


def _write(path: Path, data: bytes) -> int:
    part = path.with_suffix(".part")
    # Only the holder of the shard's lock comes here, so a part that exists was left by a process that died.
    part.unlink(missing_ok=True)
    try:
        with part.open("xb") as handle:
            handle.write(data)
        content = os.open(part, os.O_RDONLY)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return content
