"""Metrics against figures worked out by hand, and what they refuse."""

import math

import numpy as np
import pytest
import torch

from adodn import metrics, protocols
from adodn.errors import ConfigError

PROTOCOL = protocols.get("68")


def test_nme_is_the_mean_distance_over_the_normaliser() -> None:
    """Distances 5 and 0 over an eye distance of 10 are an NME of 0.25."""
    target = torch.tensor([[[0.0, 0.0], [10.0, 0.0]]])
    predicted = target + torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])

    assert metrics.nme(predicted, target, torch.tensor([10.0])).tolist() == [0.25]


def test_nrmse_eq10_is_the_formula_to_the_letter() -> None:
    """Offsets (3, 4) and (0, 12) have a norm of 13; over L = 2 and Ω = 10 that is 0.65."""
    target = np.zeros((1, 2, 2))
    predicted = np.array([[[3.0, 4.0], [0.0, 12.0]]])

    assert metrics.nrmse_eq10(predicted, target, np.array([10.0])).item() == pytest.approx(0.65, rel=1e-15)


def test_numpy_and_torch_of_any_precision_give_the_same_float64() -> None:
    """Arrays of either library are measured in float64."""
    target = np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    from_numpy = metrics.nme(target + 1, target, np.array([2]))
    from_torch = metrics.nme(torch.from_numpy(target) + 1, torch.from_numpy(target), torch.tensor([2.0]))

    assert from_numpy.dtype == torch.float64
    assert from_numpy.tolist() == from_torch.tolist() == [math.sqrt(2) / 2]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_normaliser_that_cannot_divide_is_named(bad: float) -> None:
    """A normaliser that is not a positive number raises with the face's index and its value, and is never skipped."""
    points = torch.zeros(3, 2, 2)

    with pytest.raises(ValueError, match=rf"face 1: normaliser .* got {bad}"):
        metrics.nme(points, points, torch.tensor([1.0, bad, 1.0]))


def test_a_prediction_that_is_not_finite_is_named() -> None:
    """NaN never passes through as a score."""
    predicted = torch.zeros(2, 3, 2)
    predicted[1, 2, 0] = math.nan

    with pytest.raises(ValueError, match="face 1: landmarks must be finite"):
        metrics.nme(predicted, torch.zeros(2, 3, 2), torch.ones(2))


@pytest.mark.parametrize(
    ("predicted", "target", "normaliser"),
    [((0, 2, 2), (0, 2, 2), (0,)), ((1, 2, 2), (1, 3, 2), (1,)), ((2, 2, 2), (2, 2, 2), (1,)), ((2, 2), (2, 2), (2,))],
)
def test_shapes_that_do_not_fit_are_refused(
    predicted: tuple[int, ...], target: tuple[int, ...], normaliser: tuple[int, ...]
) -> None:
    """Nothing is broadcast: shapes differ, or no face is there, and it is an error."""
    with pytest.raises(ValueError, match="must be"):
        metrics.nme(torch.ones(predicted), torch.ones(target), torch.ones(normaliser))


def test_normalisers_are_the_lengths_that_they_name() -> None:
    """A 3 by 4 box and eyes 6 apart give each normaliser by hand."""
    landmarks = torch.zeros(1, 68, 2)
    landmarks[0, 36] = torch.tensor([-3.0, 0.0])
    landmarks[0, 45] = torch.tensor([3.0, 0.0])
    landmarks[0, 37:42] = torch.tensor([0.0, 6.0])  # the right pupil is the mean of six points: (-0.5, 5)
    landmarks[0, 42:48] = torch.tensor([11.5, 0.0])
    landmarks[0, 45] = torch.tensor([3.0, 0.0])
    landmarks[0, 42] = torch.tensor([20.0, 0.0])  # 20 + 3 + 4 · 11.5 = 69, so the left pupil is (11.5, 0)
    boxes = torch.tensor([[1.0, 2.0, 4.0, 6.0]])

    measured = {
        name: metrics.normaliser_of(PROTOCOL, landmarks, boxes, name).item()
        for name in ("outer_eye_corners", "pupils", "box_size", "box_width", "box_diagonal")
    }

    assert measured == pytest.approx(
        {"outer_eye_corners": 6, "pupils": 13, "box_size": math.sqrt(12), "box_width": 3, "box_diagonal": 5}, rel=1e-15
    )


def test_an_unknown_normaliser_lists_those_there_are() -> None:
    """The message names what may be asked for."""
    with pytest.raises(ConfigError, match=r"'ears'.*box_diagonal.*outer_eye_corners"):
        metrics.normaliser_of(PROTOCOL, torch.zeros(1, 68, 2), torch.zeros(1, 4), "ears")


def test_landmarks_of_another_protocol_are_refused() -> None:
    """Points of another layout would be measured between the wrong corners."""
    with pytest.raises(ValueError, match=r"must be \[B, 68, 2\], got \[1, 29, 2\]"):
        metrics.normaliser_of(PROTOCOL, torch.zeros(1, 29, 2), torch.zeros(1, 4), "box_size")


def test_an_inverted_box_has_no_size() -> None:
    """A box turned inside out in both axes is not mistaken for one of positive area, and nme refuses it."""
    size = metrics.normaliser_of(PROTOCOL, torch.zeros(1, 68, 2), torch.tensor([[4.0, 6.0, 1.0, 2.0]]), "box_size")

    assert size.item() == 0


def test_failure_is_strictly_above_the_threshold_and_ced_includes_it() -> None:
    """An error of exactly 0.1 lies inside the CED at 0.1 and is no failure there."""
    errors = [0.05, 0.1, 0.1000001, 0.3]

    assert metrics.failure_rate(errors, 0.1) == 0.5
    assert metrics.ced(errors, [0.01, 0.05, 0.1, 1.0]).tolist() == [0, 0.25, 0.5, 1]


def test_auc_is_the_area_of_rectangles() -> None:
    """Faces entering at 0.02 and 0.06, one outside: (0.04 · 1/3 + 0.04 · 2/3) / 0.1 = 0.4."""
    assert metrics.auc([0.02, 0.06, 0.5], 0.1) == pytest.approx(0.4, rel=1e-12)


@pytest.mark.parametrize("errors", [[], [0.1, math.nan], [-0.1], [[0.1]]])
def test_errors_that_are_not_errors_are_refused(errors: list[float]) -> None:
    """Empty, NaN, negative or nested errors raise from every metric."""
    for metric in (metrics.auc, metrics.failure_rate):
        with pytest.raises(ValueError, match="error"):
            metric(errors, 0.1)
    with pytest.raises(ValueError, match="error"):
        metrics.ced(errors, [0.1])


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_a_threshold_that_bounds_nothing_is_refused(threshold: float) -> None:
    """A threshold is a finite number above 0."""
    for metric in (metrics.auc, metrics.failure_rate):
        with pytest.raises(ValueError, match="threshold"):
            metric([0.1], threshold)
