"""AUC and failure rate by steps, as much published code computes them: to stand beside its figures, no more.

auc_stepwise(errors, 0.10)      # `auc` is exact and is what adodn reports

The recipe is that of menpofit (`area_under_curve_and_failure_rate`) and of Deep Alignment Network (`AUCError`), from
which later repositories took it: CED at 0, s, 2s, … by `numpy.arange(0, threshold + s, s)`, then Simpson's rule over
all points. Simpson's rule suits smooth curves and the CED has jumps, so a face counts too much or too little by up to
two thirds of a step; and where `arange` rounds up (thresholds 0.05 and 0.07, but not 0.08 and 0.10) a point beyond the
threshold is in it.
"""

import numpy as np
from numpy.typing import NDArray

from adodn.metrics.arrays import Errors
from adodn.metrics.curves import above_zero, ced

STEP = 0.0001
"""Of the published code: a hundredth of a per cent."""


def auc_stepwise(errors: Errors, threshold: float, step: float = STEP) -> float:
    """Area under the CED by Simpson's rule on a grid, over the threshold. May leave 0 … 1 by a step's share.

    Args:
        errors: `[B]`, fractions.
        threshold: A fraction, usually 0.08 or 0.10.
        step: Of the grid, below the threshold.

    Raises:
        ValueError: As `auc`, or if the step is not between 0 and the threshold.
    """
    from scipy.integrate import simpson  # half a second that every training worker would pay

    grid = _grid(threshold, step)
    return float(simpson(ced(errors, grid).numpy(), x=grid) / threshold)


def failure_rate_stepwise(errors: Errors, threshold: float, step: float = STEP) -> float:
    """Fraction of faces whose error lies above the last point of the grid, which may be a step beyond the threshold.

    Args:
        errors: `[B]`, fractions.
        threshold: A fraction, usually 0.08 or 0.10.
        step: Of the grid, below the threshold.

    Raises:
        ValueError: As `failure_rate`, or if the step is not between 0 and the threshold.
    """
    return 1.0 - float(ced(errors, _grid(threshold, step)[-1:]))


def _grid(threshold: float, step: float) -> NDArray[np.float64]:
    if not 0 < step < above_zero(threshold):
        raise ValueError(f"step must lie between 0 and the threshold {threshold!r}, got {step!r}")
    return np.arange(0.0, threshold + step, step)
