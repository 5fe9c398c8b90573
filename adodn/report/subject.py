"""A model as a report sees it: its name, its figures, and whatever else is known of it.

subject = read_evaluation(Path("results"))          # a folder that `adodn evaluate --out` wrote
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adodn.errors import DataError
from adodn.evaluate import ERRORS, FIGURES, Crop, EvaluationReport, read_report
from adodn.report.maps import FaceMaps
from adodn.report.provenance import PROVENANCE, Provenance, read_provenance


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """A model that was measured."""

    label: str
    """What people call it: a run, `models:/NAME@ALIAS`, or a folder."""
    report: EvaluationReport
    provenance: Provenance | None = None
    """None where it is not known."""
    crops: Mapping[str, Crop] = field(default_factory=dict)
    """Faces that can be drawn, by key."""
    maps: Mapping[str, FaceMaps] = field(default_factory=dict)
    """What its occlusion module made of some of them, by key."""

    @property
    def name(self) -> str:
        """The experiment with its fingerprint where they are known, else the label."""
        known = self.provenance
        return f"{known.experiment}-{known.fingerprint}" if known else self.label


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds an evaluation, rather than a model."""
    return (folder / ERRORS).is_file()


def read_evaluation(folder: Path) -> Subject:
    """An evaluation that `adodn evaluate --out` wrote. Figures are made anew from the errors of its faces.

    Raises:
        DataError: If a file is missing, is another file, or was changed.
    """
    figures = _read(folder / FIGURES)
    try:
        sha256 = json.loads(figures)["files"][ERRORS]
    except (ValueError, KeyError, TypeError) as cause:
        raise DataError(f"{folder / FIGURES}: does not name the sha256 of {ERRORS}; evaluate again") from cause
    errors = folder / ERRORS
    known = folder / PROVENANCE
    return Subject(
        label=folder.name or str(folder),
        report=read_report(_read(errors), str(errors), sha256=str(sha256)),
        provenance=read_provenance(_read(known), str(known)) if known.exists() else None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise DataError(
            f"{path}: cannot be read ({cause.strerror}); an evaluation is the folder of `adodn evaluate --out`"
        ) from cause
