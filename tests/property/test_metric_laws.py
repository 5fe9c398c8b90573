"""Laws of the metrics that hold for any faces."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adodn import metrics

unhurried = settings(deadline=None)  # how long one example takes says more of the machine than of the law

offsets = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 9), st.just(2)), elements=st.floats(-50, 50))
errors = st.lists(st.floats(0, 2), min_size=1, max_size=30)
thresholds = st.floats(0.01, 1)


@unhurried
@given(offsets, st.floats(0.1, 10), st.floats(-math.pi, math.pi), st.floats(-100, 100))
def test_nme_ignores_where_and_how_large_the_face_is(
    offset: np.ndarray, scale: float, turn: float, shift: float
) -> None:
    """Scaling, turning and shifting both shapes, and scaling Ω along, changes no NME."""
    target = np.random.default_rng(0).normal(0, 20, offset.shape)
    rotation = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    size = np.full(len(offset), 30.0)
    before = metrics.nme(target + offset, target, size)
    after = metrics.nme((target + offset) @ rotation.T + shift, target @ rotation.T + shift, size * scale)

    assert after.numpy() == pytest.approx(before.numpy(), rel=1e-9, abs=1e-9)


@unhurried
@given(offsets)
def test_eq10_is_smaller_by_a_root_of_landmarks(offset: np.ndarray) -> None:
    """Eq. 10 is the root mean square distance over √L · Ω, where nme is the mean distance over Ω."""
    size = np.full(len(offset), 7.0)
    literal = metrics.nrmse_eq10(offset, np.zeros_like(offset), size).numpy()
    root_mean_square = np.sqrt((offset**2).sum(axis=2).mean(axis=1))

    assert literal == pytest.approx(root_mean_square / math.sqrt(offset.shape[1]) / 7, rel=1e-12)


@unhurried
@given(offsets)
def test_nme_of_a_batch_is_that_of_each_face_alone(offset: np.ndarray) -> None:
    """A face's error does not depend on who shares its batch, to the last bit."""
    size = np.full(len(offset), 7.0)
    zero = np.zeros_like(offset)
    together = metrics.nme(offset, zero, size).tolist()
    alone = [metrics.nme(offset[i : i + 1], zero[i : i + 1], size[i : i + 1]).item() for i in range(len(offset))]

    assert together == alone


@unhurried
@given(errors, thresholds)
def test_failures_and_ced_share_out_all_faces(values: list[float], threshold: float) -> None:
    """Every face is at most the threshold or strictly above it."""
    below = metrics.ced(values, [threshold]).item()

    assert below + metrics.failure_rate(values, threshold) == pytest.approx(1, abs=1e-15)


@unhurried
@given(errors, thresholds)
def test_auc_is_the_integral_of_the_ced(values: list[float], threshold: float) -> None:
    """Summing the step CED piece by piece between the errors gives the AUC."""
    edges = np.unique([0.0, *(value for value in values if value < threshold), threshold])
    heights = metrics.ced(values, edges[:-1]).numpy()

    assert metrics.auc(values, threshold) == pytest.approx(float(heights @ np.diff(edges)) / threshold, abs=1e-12)


@unhurried
@given(errors, thresholds, st.floats(0, 1))
def test_smaller_errors_never_score_worse(values: list[float], threshold: float, shrink: float) -> None:
    """Shrinking every error cannot lower the AUC nor raise the failure rate."""
    better = [value * shrink for value in values]

    assert metrics.auc(better, threshold) >= metrics.auc(values, threshold) - 1e-12
    assert metrics.failure_rate(better, threshold) <= metrics.failure_rate(values, threshold)


@unhurried
@given(errors)
def test_ced_climbs_from_nothing_to_all(values: list[float]) -> None:
    """The CED never falls, and reaches 1 at the largest error."""
    curve = metrics.ced(values, torch.linspace(0, 2, 21))

    assert bool((curve.diff() >= 0).all())
    assert curve[-1].item() == 1
