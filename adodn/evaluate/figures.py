"""The figures of an evaluation, each with its full name and number of faces, and the files that keep them.

result = report(errors, "300w", manifest.digest, "outer_eye_corners")
result.rows()                           # the headline: NME, failures and AUC of each subset
result.detail_rows("all")               # of visible and covered landmarks, parts, landmarks, other normalisers
for name, content in result.files().items(): ...
same = read_report(result.files()["errors.npz"], "run/errors.npz")
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from adodn import metrics
from adodn.errors import ConfigError
from adodn.evaluate.conditions import Conditions
from adodn.evaluate.consistency import check
from adodn.evaluate.faces import FaceErrors, figure_names
from adodn.evaluate.files import Kept, pack, to_csv, unpack

FIGURES, ERRORS = "figures.json", "errors.npz"
"""Names of the files that `EvaluationReport.files` has for programs; the first has the sha256 of the other."""
_CSV = "errors.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One figure."""

    name: str
    """E.g. `300w/challenging failure_rate@0.10`."""
    value: float
    """A fraction."""
    num_faces: int
    """Faces that it is the figure of: those of the subset that have it."""

    def row(self) -> tuple[str, str, str]:
        """Name, percent and number of faces as text for a table; AUC stays a fraction."""
        shown = f"{self.value:.4f}" if " auc" in self.name else f"{100 * self.value:.2f} %"
        return self.name, shown, str(self.num_faces)


@dataclass(frozen=True, kw_only=True, slots=True)
class Jittered:
    """The NME of all faces with their boxes changed, against the same faces with their boxes as they are."""

    change: str
    """E.g. `shift 0.05` or `scale 0.90`, of the box's larger side."""
    nme: float
    """A fraction, like all below."""
    difference: float
    """Mean of changed minus unchanged over faces: positive where the change does harm."""
    low: float
    high: float
    confidence: float
    num_faces: int

    def row(self) -> tuple[str, str, str, str]:
        """Change, NME, difference and its interval as text for a table."""
        shown = f"{100 * self.low:+.2f} … {100 * self.high:+.2f}"
        return self.change, f"{100 * self.nme:.2f} %", f"{100 * self.difference:+.2f}", shown


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """All figures of one model on one dataset, and the errors behind them."""

    dataset: str
    dataset_digest: str
    protocol: str
    normaliser: str
    thresholds: tuple[float, ...]
    results: tuple[Result, ...]
    """The headline: NME, failure rates and AUC of each subset."""
    details: tuple[Result, ...]
    """All other figures, by the names of `figure_names` and as `metrics` calls them."""
    left_out: Mapping[str, str]
    """Name of a figure that these faces or this model do not have → why."""
    checks: tuple[str, ...]
    """What was checked of the figures; a report whose figures contradict each other is never made."""
    errors: FaceErrors = field(repr=False, compare=False)
    conditions: Conditions | None = None
    """None where they were not recorded."""
    box_jitter: tuple[Jittered, ...] = ()
    """How the headline NME of all faces changes with the boxes; empty where that was not measured."""

    @property
    def qualifier(self) -> str:
        """What ends the name of every result; empty in the usual case."""
        return self.conditions.qualifier if self.conditions else ""

    @property
    def maps_digest(self) -> str:
        """Of the maps between protocols that were used; empty where there were none."""
        return self.conditions.maps_digest if self.conditions else ""

    def name(self, subset: str, figure: str) -> str:
        """The full name of a figure, e.g. `300w/all nme@pupils via 68-to-5 approximate 2 of 5`."""
        return _full_name(self.dataset, subset, figure, self.qualifier)

    def value(self, name: str) -> float:
        """The figure of that full name, as a fraction.

        Raises:
            ConfigError: If there is none; the message lists those of the headline, or says why it was left out.
        """
        values = {result.name: result.value for result in (*self.results, *self.details)}
        if name in self.left_out:
            raise ConfigError(f"no result {name!r}: {self.left_out[name]}")
        if name not in values:
            headline = ", ".join(result.name for result in self.results)
            raise ConfigError(f"no result {name!r}; available: {headline}, and {len(self.details)} details")
        return values[name]

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, percent and number of faces of each headline figure, as text for a table; AUC stays a fraction."""
        return [result.row() for result in self.results]

    def detail_rows(self, subset: str, *, landmarks: bool = False) -> list[tuple[str, str, str]]:
        """The same of the details of a subset, those of single landmarks only where asked for."""
        start = f"{self.dataset}/{subset} "
        shown = (result for result in self.details if result.name.startswith(start))
        return [result.row() for result in shown if landmarks or "nme/landmark/" not in result.name]

    def files(self) -> dict[str, bytes]:
        """File name → content: figures, and the errors of each face for people (CSV) and for programs (npz).

        The figures name the sha256 of the other two. `read_report` makes the same report of `errors.npz`.
        """
        csv = to_csv(self.errors).encode()
        npz = pack(
            Kept(
                dataset=self.dataset,
                dataset_digest=self.dataset_digest,
                thresholds=self.thresholds,
                errors=self.errors,
                conditions=self.conditions,
            )
        )
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in ((_CSV, csv), (ERRORS, npz))}
        figures = json.dumps({**self._plain(), "files": digests}, indent=2, allow_nan=False)
        return {FIGURES: figures.encode(), _CSV: csv, ERRORS: npz}

    def to_json(self) -> str:
        """Everything but the errors of each face, which are in `files`. Values are fractions."""
        return json.dumps(self._plain(), indent=2, allow_nan=False)

    def _plain(self) -> dict[str, object]:
        head = {name: getattr(self, name) for name in ("dataset", "dataset_digest", "protocol", "normaliser")}
        return {
            **head,
            "thresholds": list(self.thresholds),
            "num_faces": len(self.errors),
            "qualifier": self.qualifier,
            "conditions": self.conditions.to_plain() if self.conditions else None,
            "box_jitter": [asdict(row) for row in self.box_jitter],
            "results": [asdict(result) for result in self.results],
            "details": [asdict(result) for result in self.details],
            "left_out": dict(self.left_out),
            "checks": list(self.checks),
        }


def report(
    errors: FaceErrors,
    dataset_name: str,
    dataset_digest: str,
    normaliser: str,
    thresholds: Sequence[float] = (0.08, 0.10),
    *,
    conditions: Conditions | None = None,
) -> EvaluationReport:
    """Sum up each subset, and all faces together.

    Args:
        errors: From `face_errors`.
        dataset_name: The first word of every figure's name.
        dataset_digest: Of its manifest.
        normaliser: The one that `errors` were measured with.
        thresholds: Of failure rate and AUC, fractions.
        conditions: Under which they were measured; what is unusual of them ends every figure's name.

    Raises:
        DataError: If `full` is not made of `common` and `challenging`.
        ValueError: If `errors` were measured with another normaliser, or figures contradict each other.
    """
    if normaliser != errors.normaliser:
        raise ValueError(f"errors were measured with normaliser {errors.normaliser!r}, not {normaliser!r}")
    members = errors.members()
    headline = {subset: _headline(errors.nme[chosen], normaliser, thresholds) for subset, chosen in members.items()}
    details, left_out = _details(errors, members, thresholds)
    named = partial(_full_name, dataset_name, qualifier=conditions.qualifier if conditions else "")
    return EvaluationReport(
        dataset=dataset_name,
        dataset_digest=dataset_digest,
        protocol=errors.protocol.name,
        normaliser=normaliser,
        thresholds=tuple(thresholds),
        results=tuple(
            Result(name=named(subset, figure), value=value, num_faces=int(members[subset].sum()))
            for subset, figures in headline.items()
            for figure, value in figures.items()
        ),
        details=tuple(
            Result(name=named(subset, figure), value=value, num_faces=num_faces)
            for subset, figure, value, num_faces in details
        ),
        left_out={named(subset, figure): why for (subset, figure), why in left_out.items()},
        checks=check(errors, members, headline, thresholds),
        errors=errors,
        conditions=conditions,
    )


def read_report(content: bytes, where: str, *, sha256: str | None = None) -> EvaluationReport:
    """The report whose `errors.npz` this is, made anew: a figure is never believed that its errors do not give.

    What other boxes would have given is not in it, as that has other errors; `figures.json` keeps it.

    Args:
        content: Of the file.
        where: Its address, for messages.
        sha256: The digest that it must have, as `figures.json` names it.

    Raises:
        DataError: If it is another file, or was changed.
    """
    kept = unpack(content, where, sha256=sha256)
    return report(
        kept.errors,
        kept.dataset,
        kept.dataset_digest,
        kept.errors.normaliser,
        kept.thresholds,
        conditions=kept.conditions,
    )


def _full_name(dataset: str, subset: str, figure: str, qualifier: str) -> str:
    return " ".join([f"{dataset}/{subset}", figure, *([qualifier] if qualifier else [])])


_Detail = tuple[str, str, float, int]
"""Subset, figure, value, number of faces."""


def _headline(values: NDArray[np.float64], normaliser: str, thresholds: Sequence[float]) -> dict[str, float]:
    figures = {f"nme@{normaliser}": metrics.mean(values)}
    for threshold in thresholds:
        figures[f"failure_rate@{label(threshold)}"] = metrics.failure_rate(values, threshold)
        figures[f"auc@{label(threshold)}"] = metrics.auc(values, threshold)
    return figures


def _details(
    errors: FaceErrors, members: Mapping[str, NDArray[np.bool_]], thresholds: Sequence[float]
) -> tuple[list[_Detail], dict[tuple[str, str], str]]:
    found: list[_Detail] = []
    left_out: dict[tuple[str, str], str] = {}
    per_face = {figure: errors.per_face(figure) for figure in figure_names(errors.protocol)[1:]}
    sources = (
        partial(_of_faces, per_face, errors.normaliser),
        partial(_by_other_normalisers, errors),
        partial(_visibility, errors),
    )
    for subset, chosen in members.items():
        for figure, figured in (item for source in sources for item in source(chosen)):
            if isinstance(figured, str):
                left_out[subset, figure] = figured
            else:
                found.append((subset, figure, *figured))
        values = errors.nme[chosen]
        found += [(subset, figure, value, len(values)) for figure, value in _stepwise(values, thresholds)]
    return found, left_out


_Figured = tuple[float, int] | str
"""Value and number of faces, or why there is none."""


def _of_faces(
    per_face: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]], normaliser: str, chosen: NDArray[np.bool_]
) -> Iterator[tuple[str, _Figured]]:
    for figure, (every, faces) in per_face.items():
        values = every[chosen[faces]]
        kind = "visible" if figure == "nme/visible" else "covered"
        lacking = f"the annotation has no {kind} landmark on these faces"
        yield f"{figure}@{normaliser}", (metrics.mean(values), len(values)) if len(values) else lacking


def _by_other_normalisers(errors: FaceErrors, chosen: NDArray[np.bool_]) -> Iterator[tuple[str, _Figured]]:
    for normaliser in metrics.normaliser_names(errors.protocol):
        if normaliser == errors.normaliser:
            continue
        lengths = errors.lengths(normaliser)
        without = np.flatnonzero(chosen & ~(lengths > 0))
        if len(without):
            yield f"nme@{normaliser}", f"it is 0 on {len(without)} of these faces, first {errors.keys[without[0]]!r}"
        else:
            values = metrics.nme(errors.predicted[chosen], errors.target[chosen], lengths[chosen])
            yield f"nme@{normaliser}", (metrics.mean(values), len(values))


def _visibility(errors: FaceErrors, chosen: NDArray[np.bool_]) -> Iterator[tuple[str, _Figured]]:
    names, told = ("precision", "recall", "f1"), errors.predicted_visible
    reason = ""
    if told is None:
        reason = "the model does not tell visibility"
    elif errors.visible[chosen].all():
        reason = "the annotation has no covered landmark on these faces"
    elif told[chosen].all():
        reason = "the model says of no landmark of these faces that it is covered"
    if told is None or reason:
        yield from ((f"occlusion_{name}", reason) for name in names)
        return
    scores = metrics.visibility_scores(told[chosen], errors.visible[chosen])
    yield from ((f"occlusion_{name}", (getattr(scores, name), int(chosen.sum()))) for name in names)


def _stepwise(values: NDArray[np.float64], thresholds: Sequence[float]) -> Iterator[tuple[str, float]]:
    for threshold in thresholds:
        yield f"failure_rate_stepwise@{label(threshold)}", metrics.failure_rate_stepwise(values, threshold)
        yield f"auc_stepwise@{label(threshold)}", metrics.auc_stepwise(values, threshold)


def label(threshold: float) -> str:
    """Two digits as the field writes them, e.g. `0.10`; more only where two would not do."""
    short = f"{threshold:.2f}"
    return short if float(short) == threshold else repr(threshold)
