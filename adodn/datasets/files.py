"""Reads files that strangers wrote, and only such as lie in their dataset's own folder. It knows no dataset's format.

path = inside(root / name, root)                    # no way out by `..` or a link
for number, line in text_lines(path): ...           # counted from 1, blank ones left out
values = numbers(line.split(), where=f"{path}:{number}")
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from adodn.errors import AnnotationError

MAX_IMAGE_BYTES = 64_000_000
MAX_LIST_BYTES = 64_000_000
"""Far above any real list of faces; WFLW's have 17 MB."""


def inside(path: Path, root: Path) -> Path:
    """The real path of a file, if it lies in the dataset's folder.

    Args:
        path: Where the file is said to be; it need not exist.
        root: The dataset's folder, resolved.

    Raises:
        AnnotationError: If `..` or a link leads out of the folder, or the path cannot be one.
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a ring of links, ValueError: a zero byte
        raise AnnotationError(f"{str(path)!r}: cannot be followed: {error}") from None
    if not real.is_relative_to(root):
        raise AnnotationError(f"{path}: leads out of {root}, to {str(real)!r}; copy the file instead of linking it")
    return real


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name too long to be one is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_file(path: Path, limit: int) -> bytes:
    """All bytes of a file.

    Args:
        path: The file.
        limit: Bytes that no honest file exceeds.

    Raises:
        AnnotationError: If it cannot be read, or has more than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise AnnotationError(f"{path}: has more than {limit} bytes, which no such file of a dataset has")
    return data


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a list, with their numbers from 1; blank lines are left out.

    Raises:
        AnnotationError: If the file cannot be read or is not UTF-8.
    """
    for number, raw in enumerate(read_file(path, MAX_LIST_BYTES).split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise AnnotationError(f"{path}:{number}: a list is UTF-8 text, got byte {raw[error.start]:#04x}") from None
        if line:
            yield number, line


def numbers(words: Iterable[str], *, where: str) -> list[float]:
    """Words as finite numbers.

    Args:
        words: What stands in the file.
        where: File and line, for messages.

    Raises:
        AnnotationError: If a word is not a finite number.
    """
    return [_number(word, where) for word in words]


def _number(word: str, where: str) -> float:
    try:
        value = float(word.replace("_", "?"))  # Python alone reads 1_0 as a number
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError(f"{where}: expected a finite number, got {word!r}")
    return value
