"""Faces that sharding leaves out, and why: a small CSV that people can read and edit. It decides nothing itself.

exclusions = read_exclusions(Path("excluded.csv"))     # {"helen-train-100032540_1": "points far outside the image"}
write_exclusions(Path("excluded.csv"), exclusions)
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from adodn.errors import ConfigError

_HEADER = ["key", "reason"]
MAX_BYTES = 100_000_000
"""A list larger than this is taken for some other file."""


def read_exclusions(path: Path) -> dict[str, str]:
    """Key → reason, in the order of the file.

    Raises:
        ConfigError: If the file cannot be read, is not such a list, or names a key twice.
    """
    found: dict[str, str] = {}
    for number, row in enumerate(_rows(path), start=1):
        if number == 1:
            _require(row == _HEADER, f"{path}:1: the first line must read 'key,reason'")
            continue
        _require(len(row) == 2 and bool(row[0]), f"{path}:{number}: a line is a key and a reason, got {row!r}")
        key, reason = row
        _require(key not in found, f"{path}:{number}: key {key!r} stands there twice; delete one of the lines")
        found[key] = reason
    return found


def write_exclusions(path: Path, exclusions: Mapping[str, str]) -> None:
    """Write a list, sorted by key; a reader sees the old file or the whole new one.

    Raises:
        ConfigError: If the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(_HEADER)
            writer.writerows(sorted(exclusions.items()))
        part.replace(path)
    except OSError as cause:
        part.unlink(missing_ok=True)
        raise ConfigError(f"exclusion list {str(path)!r} cannot be written: {cause.strerror}") from cause


def _rows(path: Path) -> list[list[str]]:
    try:
        _require(path.stat().st_size <= MAX_BYTES, f"{path}: an exclusion list has at most {MAX_BYTES} bytes")
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.reader(handle))
    except OSError as cause:
        raise ConfigError(f"exclusion list {str(path)!r} cannot be read: {cause.strerror}") from cause
    except (UnicodeDecodeError, csv.Error) as cause:
        raise ConfigError(f"{path}: not a CSV file with the columns key,reason ({cause})") from cause
    _require(bool(rows), f"{path}: the first line must read 'key,reason', the file is empty")
    return rows


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)
