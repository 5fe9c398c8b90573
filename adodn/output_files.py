"""Files that commands write where they are told to: whole or not at all, and what cannot be written is one line.

make_folder(out)                                # before hours of work
write_files(out, {"report.json": content})
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from adodn.errors import ConfigError


def make_folder(folder: Path | None, *, option: str = "--out") -> None:
    """Make a folder, if one is wanted, to see that it can be.

    Raises:
        ConfigError: If it cannot.
    """
    if folder:
        with _one_line(folder, option):
            folder.mkdir(parents=True, exist_ok=True)


def make_folder_of(file: Path | None, *, option: str = "--out") -> None:
    """Make the folder of a file, if one is wanted, to see that the file can be written.

    Raises:
        ConfigError: If it cannot.
    """
    if file:
        make_folder(file.parent, option=option)
        if file.is_dir():
            raise ConfigError(f"{option} {file}: is a folder; name a file")


def write_files(folder: Path, files: Mapping[str, bytes], *, option: str = "--out") -> None:
    """Write files by their names.

    Raises:
        ConfigError: If the folder cannot be written to.
    """
    make_folder(folder, option=option)
    for name, content in files.items():
        write_file(folder / name, content, option=option)


def write_file(path: Path, content: bytes, *, option: str = "--out") -> None:
    """The file whole, or the one that was there before.

    Raises:
        ConfigError: If it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with _one_line(path, option):
        try:
            aside.write_bytes(content)
            aside.replace(path)
        except OSError:
            if aside.is_file():
                aside.unlink()
            raise


@contextmanager
def _one_line(place: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{option} {place}: cannot be written ({error.strerror}); name another with {option}"
        ) from error
