"""Laws of the metrics that hold for any faces."""

import math
from fractions import Fraction
from random import Random

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


@unhurried
@given(errors, thresholds)
def test_auc_lies_within_what_nme_and_failures_allow(values: list[float], threshold: float) -> None:
    """For any faces the AUC lies in the bounds; without failures there is no room at all."""
    rate, area = metrics.failure_rate(values, threshold), metrics.auc(values, threshold)
    low, high = metrics.auc_bounds(metrics.mean(values), threshold, rate)

    assert low - 1e-12 <= area <= high + 1e-12
    if rate == 0:
        assert (low, high) == pytest.approx((area, area), abs=1e-12)


@unhurried
@given(st.floats(0.001, 1), thresholds, st.floats(0.01, 0.99))
def test_the_bounds_of_the_auc_are_attained(mean: float, threshold: float, rate: float) -> None:
    """Faces that are all alike have the least AUC; faces that fail or are perfect the greatest."""
    alike = [mean] * 7
    split = [0.0] * 4 + [threshold * 1.5] * 3
    low, _ = metrics.auc_bounds(mean, threshold)
    _, high = metrics.auc_bounds(metrics.mean(split), threshold, 3 / 7)

    assert metrics.auc(alike, threshold) == pytest.approx(low, abs=1e-12)
    assert metrics.auc(split, threshold) == pytest.approx(high, abs=1e-12)


@unhurried
@given(errors, st.randoms(use_true_random=False), thresholds)
def test_no_figure_depends_on_the_order_of_faces(values: list[float], random: Random, threshold: float) -> None:
    """Shuffled faces give the same figures to the last bit; the mean is the exact sum, rounded, over the number."""
    shuffled = random.sample(values, len(values))

    for figure in (metrics.auc, metrics.failure_rate, metrics.auc_stepwise):
        assert figure(values, threshold) == figure(shuffled, threshold)
    assert metrics.mean(values) == metrics.mean(shuffled) == float(sum(map(Fraction, values))) / len(values)


@unhurried
@given(errors)
def test_stepwise_auc_differs_by_less_than_a_step(values: list[float]) -> None:
    """On a grid that ends at the threshold, Simpson's rule moves each face by at most two thirds of a step."""
    difference = abs(metrics.auc_stepwise(values, 0.1) - metrics.auc(values, 0.1))

    assert difference <= 2 / 3 * 0.0001 / 0.1 + 1e-12


@unhurried
@given(offsets, st.integers(0, 2**32 - 1))
def test_visible_and_covered_landmarks_share_out_a_face(offset: np.ndarray, seed: int) -> None:
    """A face's NME is that of its visible and of its covered landmarks, weighted by their numbers."""
    found = metrics.landmark_errors(offset, np.zeros_like(offset), np.full(len(offset), 7.0))
    visible = np.random.default_rng(seed).random(found.shape) < 0.5
    total = np.zeros(len(found))
    for chosen in (visible, ~visible):
        if chosen.any():
            values, faces = metrics.nme_where(found, chosen)
            total[faces.numpy()] += values.numpy() * chosen.sum(axis=1)[faces.numpy()]

    assert total / found.shape[1] == pytest.approx(found.mean(dim=1).numpy(), rel=1e-12, abs=1e-12)
