"""Writes a report's folder: `report.json`, `report.md` and `worst-CHECK.jpg`. A reader sees it whole or not at all.

check_folder(folder)                  # before the long work
publish(report, dataset, folder)
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

from adodn.data import images
from adodn.errors import ConfigError
from adodn.samples import Dataset
from adodn.validation.pictures import sheet
from adodn.validation.report import KIND, Report

_NAMES = re.compile(r"report\.(json|md)|worst-[a-z-]+\.jpg")
_SHEET_QUALITY = 88


def check_folder(folder: Path) -> None:
    """Check that a report may be written to a folder: there is none yet, or it is empty, or holds a report alone.

    Raises:
        ConfigError: If it holds anything else, or its parent is missing.
    """
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"--out {str(folder)!r}: {str(folder.absolute().parent)!r} is no folder; make it first")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"--out {str(folder)!r}: must be a folder, or not there yet; choose another name")
    others = (
        sorted(path.name for path in folder.iterdir() if not _NAMES.fullmatch(path.name)) if folder.is_dir() else []
    )
    if others or (folder.is_dir() and any(folder.iterdir()) and not _is_report(folder / "report.json")):
        what = f"{others[0]!r}, which is" if others else "files that are"
        raise ConfigError(f"--out {str(folder)!r}: holds {what} not of a validation report; choose another folder")


def publish(report: Report, dataset: Dataset, folder: Path) -> None:
    """Write a report beside its place and put it there by a rename; an older report is replaced.

    Args:
        report: Of `dataset`.
        dataset: Its worst faces are read once more, for the pictures.
        folder: Where it goes.

    Raises:
        ConfigError: If `check_folder` refuses the folder, or it cannot be written.
    """
    check_folder(folder)
    place = folder.absolute()
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as cause:
        raise ConfigError(f"--out {str(folder)!r}: cannot be written: {cause.strerror}") from cause
    try:
        new = aside / "new"
        new.mkdir()
        _write(report, dataset, new)
        if place.exists():
            place.rename(aside / "old")
        new.rename(place)
    except OSError as cause:
        raise ConfigError(f"--out {str(folder)!r}: cannot be written: {cause.strerror or cause}") from cause
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(report: Report, dataset: Dataset, folder: Path) -> None:
    refs = dataset.index()
    sheets = []
    for check in report.counts():
        sheets.append(f"worst-{check}.jpg")
        picture = sheet(dataset, report.of(check), refs)
        (folder / sheets[-1]).write_bytes(images.encode(picture, quality=_SHEET_QUALITY))
    keys = {finding.other: refs[finding.other].key for finding in report.findings if finding.other is not None}
    (folder / "report.md").write_text(report.to_markdown(sheets), encoding="utf-8", errors="replace")
    (folder / "report.json").write_text(report.to_json(keys), encoding="utf-8")


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = json.loads(file.read(100_000_000))
    except (OSError, ValueError):
        return False
    return isinstance(head, dict) and head.get("kind") == KIND
