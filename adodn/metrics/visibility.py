"""How well a model tells which landmarks are covered. What counts as found is a covered landmark, as in COFW's figures.

visibility_scores(predicted_visible, visible).recall
"""

from dataclasses import dataclass

import torch

from adodn.metrics.arrays import Array, flags


@dataclass(frozen=True, kw_only=True, slots=True)
class VisibilityScores:
    """Over all landmarks of all faces, each counting once."""

    precision: float
    """Of those said to be covered, the fraction that is."""
    recall: float
    """Of those that are covered, the fraction said to be."""
    f1: float
    """Harmonic mean of the two; 0 where both are."""


def visibility_scores(predicted_visible: Array, visible: Array) -> VisibilityScores:
    """Compare what a model says of visibility with the annotation.

    Args:
        predicted_visible: `[B, L]`, bool.
        visible: `[B, L]`, bool: False where a landmark is covered.

    Raises:
        ValueError: If shapes or types differ, no landmark is covered, or none is said to be: then one of the two
            fractions has nothing to be a fraction of.
    """
    truth = torch.as_tensor(visible)
    covered = ~flags(visible, truth, "visible")
    said = ~flags(predicted_visible, truth, "predicted visibility")
    found, num_covered, num_said = (int(marks.sum()) for marks in (covered & said, covered, said))
    if not num_covered or not num_said:
        what = "covered in the annotation" if not num_covered else "said to be covered"
        raise ValueError(f"no landmark of {len(truth)} faces is {what}; there is no precision and recall of nothing")
    return VisibilityScores(
        precision=found / num_said, recall=found / num_covered, f1=2 * found / (num_covered + num_said)
    )
