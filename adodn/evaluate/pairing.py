"""The same figure of the same faces by several models: what paired tests and comparisons of trainings need.

a, b = paired(report_a, report_b, subset="challenging", figure="nme/part/left_eye")
of_trainings = aligned(reports)         # [R, N]
"""

from collections.abc import Sequence

import numpy as np

from adodn.errors import ConfigError, DataError
from adodn.evaluate.faces import ALL, Numbers
from adodn.evaluate.figures import EvaluationReport


def paired(
    a: EvaluationReport, b: EvaluationReport, *, subset: str = ALL, figure: str = "nme"
) -> tuple[Numbers, Numbers]:
    """A figure of each face by two models, in one order.

    Args:
        a: Of one model.
        b: Of the other.
        subset: Which faces.
        figure: One of `figure_names`; faces that do not have it are left out, which are the same for both.

    Returns:
        `[K]` and `[K]` fractions.

    Raises:
        ConfigError: If there is no such subset or figure.
        DataError: If the two are not of the same faces, annotation and measure.
    """
    first, second = aligned([a, b], subset=subset, figure=figure)
    return first, second


def aligned(reports: Sequence[EvaluationReport], *, subset: str = ALL, figure: str = "nme") -> Numbers:
    """A figure of each face by several models, such as trainings of one recipe with different seeds.

    Args:
        reports: One of each model.
        subset: Which faces.
        figure: One of `figure_names`; faces that do not have it are left out, which are the same for all.

    Returns:
        `[R, K]` fractions, faces in order of their keys.

    Raises:
        ConfigError: If there is no such subset or figure.
        DataError: If the reports are not all of the same faces, annotation and measure.
    """
    if not reports:
        raise ValueError("there must be at least one report, got none")
    for other in reports[1:]:
        _refuse_unlike(reports[0], other)
    members = reports[0].errors.members()
    if subset not in members:
        raise ConfigError(f"no subset {subset!r} in dataset {reports[0].dataset!r}; it has {', '.join(members)}")
    try:
        found = [report.errors.per_face(figure) for report in reports]
    except ValueError as cause:
        raise ConfigError(f"figure {figure!r} cannot be compared: {cause}") from cause
    chosen = members[subset][found[0][1]]
    if not chosen.any():
        raise ConfigError(f"figure {figure!r} cannot be compared: no face of subset {subset!r} has it")
    return np.stack([values[chosen] for values, _ in found])


def _refuse_unlike(a: EvaluationReport, b: EvaluationReport) -> None:
    for name in ("dataset_digest", "protocol", "normaliser", "qualifier", "maps_digest"):
        ours, theirs = getattr(a, name), getattr(b, name)
        if ours != theirs:
            raise DataError(f"models are compared by one {name} only, got {ours!r} and {theirs!r}; evaluate both alike")
    if a.errors.protocol != b.errors.protocol:
        raise DataError(f"models are compared by one protocol only, the two that are called {a.protocol!r} differ")
    apart = sorted(set(a.errors.keys) ^ set(b.errors.keys))
    if apart:
        raise DataError(
            f"models are compared on the same faces, got {len(a.errors)} and {len(b.errors)}, of which {len(apart)} "
            f"are in one only (e.g. {apart[:3]}); evaluate both on the whole split"
        )
    for name in ("subsets", "target", "visible", "boxes"):
        ours, theirs = getattr(a.errors, name), getattr(b.errors, name)
        unlike = [
            key for key, one, other in zip(a.errors.keys, ours, theirs, strict=True) if not np.array_equal(one, other)
        ]
        if unlike:
            raise DataError(
                f"models are compared by the same annotation, but {name} of {len(unlike)} faces differ, first "
                f"{unlike[0]!r}, though both name dataset {a.dataset_digest}; one was changed: evaluate both again"
            )
