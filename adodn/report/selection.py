"""Which faces a page shows: so that their crops can be fetched before it is made.

crops = gather(loader, shown_faces(report, "all"))
crops = gather(loader, compared_faces(report_a, report_b, "all"))
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adodn.errors import ConfigError
from adodn.evaluate import ALL, EvaluationReport, FaceErrors, paired

EACH = 6
"""Best, median and worst faces shown."""
DIFFERING = 4
"""Faces shown on which one model is better than the other by most; as many the other way round."""
_COVERED = 2


def usual_subset(report: EvaluationReport) -> str:
    """The subset that a page is about where nobody says: `full` where it is declared, else all faces."""
    return "full" if "full" in report.errors.members() else ALL


def called(report: EvaluationReport, subset: str) -> str:
    """The faces of a subset in a sentence, with what was unusual about how they were shown."""
    return f"{report.dataset}, subset {subset}" + (f", {report.qualifier}" if report.qualifier else "")


def of_subset(report: EvaluationReport, subset: str) -> FaceErrors:
    """The faces of a subset.

    Raises:
        ConfigError: If there is no such subset.
    """
    members = report.errors.members()
    if subset not in members:
        raise ConfigError(f"no subset {subset!r} in dataset {report.dataset!r}; it has {', '.join(members)}")
    return taken(report.errors, np.flatnonzero(members[subset]))


def taken(errors: FaceErrors, places: NDArray[np.int64]) -> FaceErrors:
    """Some of the faces, in their order."""
    told = errors.predicted_visible
    return replace(
        errors,
        keys=tuple(errors.keys[place] for place in places),
        subsets=tuple(errors.subsets[place] for place in places),
        predicted=errors.predicted[places],
        target=errors.target[places],
        visible=errors.visible[places],
        boxes=errors.boxes[places],
        predicted_visible=None if told is None else told[places],
    )


def extremes(errors: FaceErrors) -> dict[str, tuple[str, ...]]:
    """Keys of the best, median and worst faces; fewer of each where there are few, so that none is shown twice."""
    return errors.extremes(min(EACH, max(1, len(errors) // 3)))


def mapped_faces(errors: FaceErrors) -> tuple[str, ...]:
    """Keys of faces whose occlusion maps are shown: those most covered, then the best, the median and the worst."""
    hidden = (~errors.visible).sum(axis=1)
    order = sorted(range(len(errors)), key=lambda place: (-hidden[place], errors.keys[place]))
    covered = [errors.keys[place] for place in order[:_COVERED] if hidden[place]]
    ranked = (key for keys in errors.extremes(1).values() for key in keys)
    return tuple(dict.fromkeys((*covered, *ranked)))


def differing(a: FaceErrors, b: FaceErrors) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys of the faces on which a is better by most, and of those on which b is; the largest difference first."""
    ranked = sorted(zip((a.nme - b.nme).tolist(), a.keys, strict=True))
    a_better = [key for difference, key in ranked if difference < 0][:DIFFERING]
    b_better = [key for difference, key in reversed(ranked) if difference > 0][:DIFFERING]
    return tuple(a_better), tuple(b_better)


def shown_faces(report: EvaluationReport, subset: str) -> set[str]:
    """Keys of all faces that the page of a model shows.

    Raises:
        ConfigError: If there is no such subset.
    """
    errors = of_subset(report, subset)
    return {key for keys in extremes(errors).values() for key in keys} | set(mapped_faces(errors))


def compared_faces(a: EvaluationReport, b: EvaluationReport, subset: str) -> set[str]:
    """Keys of all faces that a comparison shows.

    Raises:
        ConfigError: If there is no such subset.
        DataError: If the two are not of the same faces, annotation and measure.
    """
    paired(a, b, subset=subset)
    a_better, b_better = differing(of_subset(a, subset), of_subset(b, subset))
    return {*a_better, *b_better}
