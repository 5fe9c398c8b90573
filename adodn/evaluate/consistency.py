"""Checks that every report passes before it exists: that its figures can all be true of the same faces.

checks = check(errors, errors.members(), {"all": {"nme@outer_eye_corners": 0.03, …}}, (0.08, 0.10))
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adodn import metrics
from adodn.errors import DataError
from adodn.evaluate.faces import FaceErrors

_ROUNDING = 1e-12
"""Relative: what sums of another order may differ by, with room to spare."""
_WHOLE, _PARTS = "full", ("common", "challenging")

Members = Mapping[str, NDArray[np.bool_]]
Figures = Mapping[str, Mapping[str, float]]


def check(errors: FaceErrors, members: Members, figures: Figures, thresholds: Sequence[float]) -> tuple[str, ...]:
    """Check the headline figures of each subset against each other and against the errors of landmarks.

    Args:
        errors: What the figures are of.
        members: Subset → `[N]`, which faces belong to it.
        figures: Subset → name of the figure, without the subset → value.
        thresholds: Of failure rates and AUC.

    Returns:
        One sentence for each check that applied, and was passed.

    Raises:
        DataError: If `full` is not made of `common` and `challenging`.
        ValueError: If figures contradict each other, which is a fault of adodn and not of the data.
    """
    name = f"nme@{errors.normaliser}"
    means = {subset: values[name] for subset, values in figures.items()}
    passed = [_landmarks_give_nme(errors, members, means)]
    if thresholds:
        passed.append(_auc_is_possible(means, figures))
    if {_WHOLE, *_PARTS} <= members.keys():
        passed.append(_full_is_its_parts(errors, members, means))
    return tuple(passed)


def _landmarks_give_nme(errors: FaceErrors, members: Members, means: Mapping[str, float]) -> str:
    for subset, chosen in members.items():
        by_landmark = metrics.mean(metrics.nme_by_landmark(errors.landmark_errors[chosen]))
        _agree(f"nme of {subset!r}", means[subset], "mean of its landmarks", by_landmark)
    return "the NME of each subset is the mean of its landmarks'"


def _auc_is_possible(means: Mapping[str, float], figures: Figures) -> str:
    for subset, values in figures.items():
        for name, area in values.items():
            kind, _, threshold = name.partition("@")
            if kind != "auc":
                continue
            low, high = metrics.auc_bounds(means[subset], float(threshold), values[f"failure_rate@{threshold}"])
            if not low - _ROUNDING <= area <= high + _ROUNDING:
                raise ValueError(f"{name} of {subset!r} must lie in {low!r} … {high!r} by its NME, got {area!r}")
    return "each AUC lies within the bounds that NME and failure rate set it"


def _full_is_its_parts(errors: FaceErrors, members: Members, means: Mapping[str, float]) -> str:
    common, challenging = (members[part] for part in _PARTS)
    wrong = np.flatnonzero((members[_WHOLE] != (common | challenging)) | (common & challenging))
    if len(wrong):
        key, names = errors.keys[wrong[0]], list(errors.subsets[wrong[0]])
        raise DataError(
            f"a face of {_WHOLE!r} is in one of {list(_PARTS)}, and no other is; face {key!r} is in {names} "
            f"({len(wrong)} such faces); mend the dataset's lists and shard it again"
        )
    counts = [int(members[part].sum()) for part in _PARTS]
    weighted = metrics.weighted_mean([means[part] for part in _PARTS], counts)
    _agree(f"nme of {_WHOLE!r}", means[_WHOLE], f"mean of {counts[0]} and {counts[1]} faces", weighted)
    return f"{_WHOLE} is {_PARTS[0]} and {_PARTS[1]}, and its NME their mean weighted by faces"


def _agree(what: str, value: float, by: str, other: float) -> None:
    if abs(value - other) > _ROUNDING * max(abs(value), abs(other)):
        raise ValueError(f"{what} must be the {by}, got {value!r} and {other!r}")
