"""Where the faces lie in a shard's tar, without unpacking it. Nothing is ever written, and no link is followed.

members = index_tar(handle, where="s3://bucket/train-000000.tar", num_samples=512)
members[0].key, members[0].image.offset, members[0].image.size
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from adodn.errors import ShardError

_MEMBER = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9_-]*)\.(?P<kind>jpg|json)")

_MAX_BYTES = {"jpg": 100_000_000, "json": 1_000_000}
"""Far more than any face needs: a JSON of a megabyte is a bomb."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run of bytes in a shard."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class FaceSpans:
    """Where one face lies in its shard."""

    key: str
    image: Span
    record: Span


def index_tar(handle: IO[bytes], *, where: str, num_samples: int) -> list[FaceSpans]:
    """Find every face of a shard, in the order of the tar.

    Args:
        handle: The tar, readable and seekable.
        where: Its address, for messages.
        num_samples: Faces that the manifest promises.

    Raises:
        ShardError: If it is no tar, is cut, holds anything but pairs of `<key>.jpg` and `<key>.json` as regular files,
            another number of faces, or a member
            that is far too large.
    """
    found: dict[str, dict[str, Span]] = {}
    for key, kind, span in _members(handle, where):
        if kind in found.setdefault(key, {}):
            raise ShardError(f"{where}: holds member {f'{key}.{kind}'!r} twice; shard the dataset again")
        if span.size > _MAX_BYTES[kind]:
            raise ShardError(
                f"{where}: member {f'{key}.{kind}'!r} has at most {_MAX_BYTES[kind]} bytes, got {span.size}; "
                "shard the dataset again"
            )
        found[key][kind] = span
        if len(found) > num_samples:  # at once: a tar of a million members is not read to its end
            raise _wrong_count(where, num_samples, f"{len(found)} or more")
    faces = [_pair(key, spans, where) for key, spans in found.items()]
    if len(faces) != num_samples:
        raise _wrong_count(where, num_samples, str(len(faces)))
    return faces


def _wrong_count(where: str, wanted: int, found: str) -> ShardError:
    return ShardError(f"{where}: must hold {wanted} faces as its manifest says, holds {found}; shard the dataset again")


def _pair(key: str, spans: dict[str, Span], where: str) -> FaceSpans:
    for kind in ("jpg", "json"):
        if kind not in spans:
            raise ShardError(f"{where}: member {f'{key}.{kind}'!r} is missing; shard the dataset again")
    return FaceSpans(key, spans["jpg"], spans["json"])


def _members(handle: IO[bytes], where: str) -> Iterator[tuple[str, str, Span]]:
    end = handle.seek(0, 2)
    handle.seek(0)
    try:
        with tarfile.open(fileobj=handle, mode="r:") as archive:
            for member in archive:
                key, kind = _require_face_member(member, where)
                if member.offset_data + member.size > end:
                    raise ShardError(f"{where}: member {member.name!r} is cut off; shard the dataset again")
                yield key, kind, Span(member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as cause:
        raise ShardError(f"{where}: not a whole tar ({cause}); shard the dataset again") from cause


def _require_face_member(member: tarfile.TarInfo, where: str) -> tuple[str, str]:
    match = _MEMBER.fullmatch(member.name)
    if match is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise ShardError(
            f"{where}: members must be regular files <key>.jpg and <key>.json, got {member.name!r} of type "
            f"{member.type!r}; shard the dataset again"
        )
    return match["key"], match["kind"]
