"""Writes the tar of one shard in memory, the same bytes for the same members. It does not read tars.

data = build_tar([("a.jpg", jpeg), ("a.json", record)])
"""

import io
import tarfile
from collections.abc import Iterable


def build_tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A USTAR archive of plain files, with no time and no owner in it.

    Args:
        members: Name, at most 100 ASCII characters, and content; kept in this order.

    Raises:
        ValueError: If a name does not fit.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
