"""What papers print for known datasets: to stand beside our figures, where faces and measure are the same.

for group in beside([("this model", report)]): group.columns, group.rows

RAR's figures (300W 4.12 / 8.35 / 4.94, COFW 6.03) are left out: it divides by an "inter-ocular distance", and does not
say whether that is between pupils or corners, so no row of ours is sure to be the same measure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from adodn.errors import ConfigError
from adodn.evaluate import EvaluationReport

Column: TypeAlias = tuple[str, str]
"""Subset and figure, e.g. `("full", "nme")`, `("cofw68", "failure_rate@0.10")`."""

_300W: tuple[Column, ...] = (("common", "nme"), ("challenging", "nme"), ("full", "nme"))
_WFLW: tuple[Column, ...] = tuple(
    (name, "nme") for name in ("full", "pose", "expression", "illumination", "make-up", "occlusion", "blur")
)
_COFW: tuple[Column, ...] = (("cofw", "nme"),)
_COFW68: tuple[Column, ...] = (("cofw68", "nme"), ("cofw68", "failure_rate@0.10"))
_AFLW: tuple[Column, ...] = (("full", "nme"), ("frontal", "nme"))
OFFICIAL_FACES: Mapping[str, Mapping[str, int]] = {
    "300w": {"common": 554, "challenging": 135, "full": 689},
    "masked-300w": {"common": 554, "challenging": 135, "full": 689},
    "cofw": {"cofw": 507},
    "cofw68": {"cofw68": 507},
    "wflw": {"full": 2500},
    "aflw": {"full": 4386},
}
"""Dataset → subset → faces. A subset of another size is not the one that papers speak of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A row of a paper's table."""

    method: str
    where: str
    """Paper and table."""
    dataset: str
    normaliser: str
    values: Mapping[Column, float]
    """Per cent, as printed."""
    note: str = ""
    """What a reader must know of it."""


_CORNERS, _BOX, _WIDTH = "outer_eye_corners", "box_size", "box_width"


def _row(
    method: str,
    where: str,
    dataset: str,
    columns: Sequence[Column],
    values: Sequence[float],
    *,
    by: str = _CORNERS,
    note: str = "",
) -> Published:
    by_column = dict(zip(columns, values, strict=True))
    return Published(method=method, where=where, dataset=dataset, normaliser=by, values=by_column, note=note)


_ODN, _SAAT, _CNT = "Zhu et al. 2019", "Zhu et al. 2021", "Jin et al. 2021"
_VANILLA, _MOBILENET, _RESNEXT = (f"{trunk}, CNT + SepBN" for trunk in ("Vanilla CNN", "MobileNetV2", "ResNeXt-50"))
_HOURGLASS = "SAAT, one hourglass"
_OWN_SUM = "ADODN prints 3.35 for Full; the mean of its own parts over 554 and 135 faces is 3.38 to 3.39."
_OTHER_MASKS = "SAAT drew other masks over the same faces than ours, so its figures are near and not of the same task."
PUBLISHED = (
    _row("ADODN", "Sadiq et al. 2026, Tables 2, 3", "300w", _300W, (2.80, 5.81, 3.35), note=_OWN_SUM),
    _row("ODN", f"{_ODN}, Tables 1, 2", "300w", _300W, (3.56, 6.67, 4.17)),
    _row(_HOURGLASS, f"{_SAAT}, Table 1", "300w", _300W, (2.96, 5.10, 3.38)),
    _row(_HOURGLASS, f"{_SAAT}, Table 5", "masked-300w", _300W, (6.37, 12.58, 7.58), note=_OTHER_MASKS),
    _row(_HOURGLASS, f"{_SAAT}, Table 4", "cofw68", _COFW68, (4.61, 1.58)),
    _row(_VANILLA, f"{_CNT}, Table XI", "cofw", _COFW, (3.63,)),
    _row(_MOBILENET, f"{_CNT}, Table XI", "cofw", _COFW, (3.56,)),
    _row(_RESNEXT, f"{_CNT}, Table XI", "cofw", _COFW, (3.47,)),
    _row(_VANILLA, f"{_CNT}, Table IX", "wflw", _WFLW, (5.26, 9.33, 5.79, 5.09, 5.20, 6.43, 6.03)),
    _row(_MOBILENET, f"{_CNT}, Table XI", "wflw", _WFLW[:1], (5.13,)),
    _row(_RESNEXT, f"{_CNT}, Table XI", "wflw", _WFLW[:1], (4.87,)),
    _row("ODN", f"{_ODN}, Table 3", "aflw", _AFLW, (1.63, 1.38), by=_WIDTH),
    _row(_VANILLA, f"{_CNT}, Table VIII", "aflw", _AFLW, (1.57, 1.37), by=_BOX),
    _row(_MOBILENET, f"{_CNT}, Table XI", "aflw", _AFLW[:1], (1.60,), by=_BOX),
    _row(_RESNEXT, f"{_CNT}, Table XI", "aflw", _AFLW[:1], (1.48,), by=_BOX),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """Our figures and papers' by one normaliser."""

    normaliser: str
    columns: tuple[Column, ...]
    ours: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Name and per cent of each column; None where we have not just those faces."""
    papers: tuple[Published, ...]


def beside(subjects: Sequence[tuple[str, EvaluationReport]]) -> list[Beside]:
    """Models beside the papers that speak of their dataset, a group for each normaliser; empty where none does.

    Args:
        subjects: Name and report of each, all of one dataset.
    """
    dataset = subjects[0][1].dataset
    papers = [paper for paper in PUBLISHED if paper.dataset == dataset]
    groups = []
    for normaliser in dict.fromkeys(paper.normaliser for paper in papers):
        rows = tuple(paper for paper in papers if paper.normaliser == normaliser)
        columns = tuple(dict.fromkeys(column for paper in rows for column in paper.values))
        ours = tuple(
            (name, tuple(_value(report, column, normaliser) for column in columns)) for name, report in subjects
        )
        groups.append(Beside(normaliser=normaliser, columns=columns, ours=ours, papers=rows))
    return groups


def _value(report: EvaluationReport, column: Column, normaliser: str) -> float | None:
    """Per cent, or None where the report has no such figure of just the papers' faces."""
    subset, figure = column
    if report.qualifier or (figure != "nme" and normaliser != report.normaliser):
        return None  # papers measured neither through maps nor on masked faces
    name = report.name(subset, f"{figure}@{normaliser}" if figure == "nme" else figure)
    members = report.errors.members().get(subset)
    official = OFFICIAL_FACES[report.dataset].get(subset)
    if members is None or (official is not None and int(members.sum()) != official):
        return None
    try:
        return 100 * report.value(name)
    except ConfigError:
        return None
