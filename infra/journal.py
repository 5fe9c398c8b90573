"""Reads the services' logs, across rotation.

for line in follow(path): ...
"""

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_POLL_S = 0.3


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log; of the file rotated away as well, when the current one is too short."""
    lines: deque[str] = deque(maxlen=count)
    for part in (path.with_name(f"{path.name}.1"), path):
        if part.exists():
            with part.open(errors="replace") as file:
                lines.extend(line.rstrip("\n") for line in file)
    return list(lines)


def follow(path: Path) -> Iterator[str]:
    """Lines as they are written, for ever; goes on with the new file when the log is rotated."""
    position = path.stat().st_size if path.exists() else 0
    rest = b""
    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position, rest = 0, b""
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                read = file.read()
            position += len(read)
            *lines, rest = (rest + read).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        time.sleep(_POLL_S)
