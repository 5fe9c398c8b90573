"""Writes the tar of one shard in memory, the same bytes for the same members. It does not read tars.

data = build_tar([("a.jpg", jpeg), ("a.json", record)])

The bytes are those of Python's tarfile, which takes several times as long for members that are all alike.
"""

from collections.abc import Iterable, Iterator

_BLOCK, _RECORD = 512, 10_240
_MAX_SIZE = 8**11 - 1
"""The size has eleven octal digits."""
_BEFORE_SIZE = b"0000644\0" + 2 * b"0000000\0"
"""Mode, owner and group."""
_TYPE_AND_REST = b"0" + bytes(100) + b"ustar\00000" + bytes(247)
"""A plain file, no link, no names of owner and group, no device, no prefix."""
_NO_CHECKSUM = b" " * 8
_TIME = b"00000000000\0"


def build_tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A USTAR archive of plain files, with no time and no owner in it.

    Args:
        members: Name, at most 100 ASCII characters, and content; kept in this order.

    Raises:
        ValueError: If a name or a content does not fit.
    """
    blocks = [block for name, content in members for block in _member(name, content)]
    length = sum(map(len, blocks)) + 2 * _BLOCK
    blocks.append(bytes(2 * _BLOCK + -length % _RECORD))
    return b"".join(blocks)


def member_bytes(size: int) -> int:
    """Bytes that a member of that size takes in a tar, its header included."""
    return _BLOCK + size + -size % _BLOCK


def _member(name: str, content: bytes) -> Iterator[bytes]:
    if not name.isascii() or not 0 < len(name) <= 100 or "\0" in name or len(content) > _MAX_SIZE:
        raise ValueError(f"a member has 1 to 100 ASCII characters and at most {_MAX_SIZE} bytes, got {name!r}")
    fields = name.encode().ljust(100, b"\0") + _BEFORE_SIZE + b"%011o\0" % len(content) + _TIME
    checksum = sum(fields) + sum(_NO_CHECKSUM) + sum(_TYPE_AND_REST)
    yield fields + b"%06o\0 " % checksum + _TYPE_AND_REST
    yield content
    yield bytes(-len(content) % _BLOCK)
