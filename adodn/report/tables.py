"""Tables of a page: numbers from reports, as text.

headline(report), parts(report, "full"), comparison(looks), provenance([subject])
"""

from collections.abc import Mapping, Sequence

import numpy as np

from adodn import metrics
from adodn.evaluate import Conditions, EvaluationReport
from adodn.evaluate.figures import label
from adodn.plots import words
from adodn.report.blocks import Table
from adodn.report.published import Beside, Column
from adodn.report.statistics import Look, MeanError, mean_error
from adodn.report.subject import Subject
from adodn.report.words import NONE, normaliser, percent, points, pvalue, span

_WORST = 5


def headline(report: EvaluationReport, subset: str) -> Table:
    """Each subset with NME, its interval, failures and AUC; the page's own subset stands out."""
    members = report.errors.members()
    by_threshold = [head for t in map(label, report.thresholds) for head in (f"failures above {t}, %", f"AUC to {t}")]
    return Table(
        caption=f"The headline figures, each subset's. NME is in per cent of {normaliser(report.normaliser)}.",
        heads=("subset", "faces", "NME, %", "95 % interval", *by_threshold),
        rows=tuple(_headline_row(report, name) for name in members),
        strong=frozenset({list(members).index(subset)}),
    )


def _headline_row(report: EvaluationReport, subset: str) -> tuple[str, ...]:
    values = report.errors.by_subset()[subset]
    error = mean_error(values)
    cells = [subset, str(error.faces), percent(error.mean), span(error.low, error.high)]
    for threshold in report.thresholds:
        cells += [percent(metrics.failure_rate(values, threshold)), f"{metrics.auc(values, threshold):.4f}"]
    return tuple(cells)


def papers(group: Beside) -> Table:
    """Models beside papers, by one normaliser."""
    ours = [
        (name, "this page", *(NONE if value is None else f"{value:.2f}" for value in values))
        for name, values in group.ours
    ]
    theirs = [
        (row.method, row.where, *(f"{row.values[c]:.2f}" if c in row.values else NONE for c in group.columns))
        for row in group.papers
    ]
    return Table(
        caption=f"Beside what papers print, in per cent of {normaliser(group.normaliser)}.",
        heads=("model", "source", *(_head(column) for column in group.columns)),
        rows=(*ours, *theirs),
        strong=frozenset(range(len(ours))),
        text=frozenset({1}),
    )


def _head(column: Column) -> str:
    subset, figure = column
    kind, _, threshold = figure.partition("@")
    return f"{subset}, NME" if kind == "nme" else f"{subset}, failures above {threshold}"


def part_figures(report: EvaluationReport) -> dict[str, str]:
    """Name for people → figure: visible and covered landmarks where the annotation tells them apart, then each part."""
    both = {"visible landmarks": "nme/visible", "covered landmarks": "nme/occluded"}
    return ({} if report.errors.visible.all() else both) | {
        words(part): f"nme/part/{part}" for part in report.errors.protocol.parts
    }


def parts(report: EvaluationReport, subset: str) -> Table:
    """NME of visible and covered landmarks and of each part, with intervals."""
    rows = []
    for name, figure in part_figures(report).items():
        error = _part_error(report, subset, figure)
        if error is not None:
            rows.append((name, str(error.faces), percent(error.mean), span(error.low, error.high)))
    return Table(
        caption=f"Errors by part of the face, subset {subset}.",
        heads=("part", "faces", "NME, %", "95 % interval"),
        rows=tuple(rows),
    )


def _part_error(report: EvaluationReport, subset: str, figure: str) -> MeanError | None:
    values, faces = report.errors.per_face(figure)
    chosen = values[report.errors.members()[subset][faces]]
    return mean_error(chosen) if len(chosen) else None


def worst_landmarks(report: EvaluationReport, subset: str) -> Table:
    """The landmarks with the largest mean error."""
    means = report.errors.landmark_errors[report.errors.members()[subset]].mean(axis=0)
    order = np.argsort(-means, kind="stable")[:_WORST]
    names = report.errors.protocol.names
    return Table(
        caption="The landmarks with the largest errors.",
        heads=("landmark", "number, from 0", "NME, %"),
        rows=tuple((words(names[i]), str(i), percent(float(means[i]))) for i in order.tolist()),
    )


def comparison(looks: Sequence[Look], caption: str, first_head: str, strong: str = "") -> Table:
    """A row for each look at two models."""
    heads = ("faces", "A, %", "B, %", "A − B, points", "95 % interval", "p", "A better on, %", "95 % interval")
    return Table(
        caption=caption,
        heads=(first_head, *heads, "detectable, points"),
        rows=tuple(_comparison_row(look) for look in looks),
        strong=frozenset(place for place, look in enumerate(looks) if look.name == strong),
    )


def _comparison_row(look: Look) -> tuple[str, ...]:
    return (
        look.name,
        str(look.faces),
        percent(look.a),
        percent(look.b),
        points(look.difference),
        f"{points(look.low)} to {points(look.high)}",
        pvalue(look.adjusted),
        f"{100 * look.better:.0f}",
        f"{100 * look.better_low:.0f} to {100 * look.better_high:.0f}",
        percent(look.detectable),
    )


def provenance(subjects: Mapping[str, Subject], subset: str) -> Table:
    """Where everything comes from, a column a model."""
    columns = [_provenance(subject, subset) for subject in subjects.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = tuple((name, *(column.get(name, "not known") for column in columns)) for name in names)
    return Table(caption="Where these figures come from.", heads=("", *subjects), rows=rows, text=frozenset({1, 2}))


def _provenance(subject: Subject, subset: str) -> dict[str, str]:
    report, known = subject.report, subject.provenance
    found = {"model": subject.label}
    if known:
        found |= {"experiment": known.experiment, "fingerprint": known.fingerprint}
        found |= {f"sha256 of {name}": digest for name, digest in sorted(known.sha256.items(), reverse=True)}
        trained = (f"{name} {digest}".strip() for name, digest in known.training_datasets.items())
        found["trained on, digest"] = "; ".join(trained)
    found |= {
        "measured on": f"{report.dataset}, test split, subset {subset}",
        "its digest": report.dataset_digest,
        "faces": f"{int(report.errors.members()[subset].sum())} of {len(report.errors)}",
        "landmarks": f"{report.errors.protocol.num_landmarks}, protocol {report.protocol}",
        "errors divided by": normaliser(report.normaliser),
    }
    if report.conditions:
        found |= _conditions(report.conditions)
    if known:
        found["code that measured, commit"] = known.commit
        found["environment"] = ", ".join(f"{name} {version}" for name, version in known.environment.items())
    return found


def _conditions(shown: Conditions) -> dict[str, str]:
    """How faces were cut out and what was changed: on what published figures differ most."""
    tight = "tight around the annotation" if shown.box_source == "landmarks" else "the dataset's own"
    trained = "" if shown.crop_scale == shown.trained_crop_scale else f"; trained with {shown.trained_crop_scale:g}"
    found = {
        "boxes": f"{tight}; {shown.tight_boxes} are tight around the annotation",
        "crop": f"{shown.crop_scale:g} times the box's larger side{trained}, as {shown.input_px} × {shown.input_px} px",
        "masks": "none were put on" if shown.mask_seed is None else f"put on all faces, seed {shown.mask_seed}",
    }
    if shown.via:
        guessed = f"; guessed: {', '.join(map(words, shown.guessed))}" if shown.guessed else ""
        found["points compared"] = f"{shown.via}{guessed}"
    return found


def box_jitter(report: EvaluationReport) -> Table:
    """How the error changes when boxes are not where they were."""
    return Table(
        caption="The same faces with their boxes moved or scaled, by shares of the box's larger side.",
        heads=("change of the box", "NME, %", "change, points", "interval"),
        rows=tuple(
            (row.change, percent(row.nme), points(row.difference), f"{points(row.low)} to {points(row.high)}")
            for row in report.box_jitter
        ),
    )
