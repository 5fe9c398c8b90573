"""Metrics against figures worked out by hand, and what they refuse."""

import math

import numpy as np
import pytest
import torch

from adodn import metrics, protocols
from adodn.errors import ConfigError
from adodn.protocols import LandmarkProtocol
from adodn.protocols.definitions import BUILT_IN

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
        for name in metrics.normaliser_names(PROTOCOL)
    }

    assert measured == pytest.approx(
        {
            "outer_eye_corners": 6,
            "pupils": 13,
            "box_size": math.sqrt(12),
            "box_width": 3,
            "box_height": 4,
            "box_diagonal": 5,
            "landmark_box_size": math.sqrt(23 * 6),  # from x -3 to 20, y 0 to 6
            "landmark_box_diagonal": math.sqrt(23**2 + 6**2),
        },
        rel=1e-15,
    )


@pytest.mark.parametrize("protocol", BUILT_IN, ids=lambda protocol: protocol.name)
def test_every_protocol_has_every_normaliser_that_it_names(protocol: LandmarkProtocol) -> None:
    """Each named distance is that of the two groups' means, computed with numpy from the definition."""
    landmarks = np.random.default_rng(0).normal(0, 30, (3, protocol.num_landmarks, 2))
    boxes = np.array([[0.0, 0, 10, 20]] * 3)

    for name, (right, left) in protocol.normalisers.items():
        expected = np.linalg.norm(landmarks[:, right].mean(axis=1) - landmarks[:, left].mean(axis=1), axis=1)
        found = metrics.normaliser_of(protocol, landmarks, boxes, name)
        assert found.numpy() == pytest.approx(expected, rel=1e-12)
    assert metrics.normaliser_names(protocol)[-6:] == metrics.FACE_NORMALISERS


def test_boxes_are_one_for_each_face() -> None:
    """A single box is not spread over all faces."""
    with pytest.raises(ValueError, match=r"boxes must be \[2, 4\], one for each face, got \[1, 4\]"):
        metrics.normaliser_of(PROTOCOL, torch.zeros(2, 68, 2), torch.zeros(1, 4), "box_size")


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


@pytest.mark.parametrize("errors", [[], [0.1, math.nan], [-0.1], [math.inf], [[0.1]]])
def test_errors_that_are_not_errors_are_refused(errors: list[float]) -> None:
    """Empty, NaN, negative, infinite or nested errors raise from every metric."""
    for metric in (metrics.auc, metrics.failure_rate, metrics.auc_stepwise, metrics.failure_rate_stepwise):
        with pytest.raises(ValueError, match="error"):
            metric(errors, 0.1)
    with pytest.raises(ValueError, match="error"):
        metrics.mean(errors)
    with pytest.raises(ValueError, match="error"):
        metrics.ced(errors, [0.1])


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_a_threshold_that_bounds_nothing_is_refused(threshold: float) -> None:
    """A threshold is a finite number above 0."""
    for metric in (metrics.auc, metrics.failure_rate, metrics.auc_stepwise, metrics.failure_rate_stepwise):
        with pytest.raises(ValueError, match="threshold"):
            metric([0.1], threshold)


def test_parts_and_covered_landmarks_are_means_of_their_own() -> None:
    """Of two faces with three landmarks each: a part, what is covered, and each landmark, by hand."""
    errors = np.array([[0.1, 0.2, 0.6], [0.3, 0.5, 0.1]])
    covered = np.array([[False, False, False], [True, False, True]])
    values, faces = metrics.nme_where(errors, covered)

    assert metrics.nme_of_points(errors, (0, 2)).numpy() == pytest.approx([0.35, 0.2], rel=1e-15)
    assert (values.tolist(), faces.tolist()) == ([0.2], [1])
    assert metrics.nme_by_landmark(errors).numpy() == pytest.approx([0.2, 0.35, 0.35], rel=1e-15)


def test_a_mean_over_nothing_is_refused() -> None:
    """No covered landmark anywhere, or no point named, is an error and not NaN."""
    errors = np.array([[0.1, 0.2]])

    with pytest.raises(ValueError, match=r"no landmark is chosen in any of faces 0 … 0"):
        metrics.nme_where(errors, np.zeros((1, 2), dtype=bool))
    with pytest.raises(ValueError, match=r"one or more of 0 … 1, got \[\]"):
        metrics.nme_of_points(errors, ())
    with pytest.raises(ValueError, match=r"one or more of 0 … 1, got \[-1\]"):
        metrics.nme_of_points(errors, (-1,))
    with pytest.raises(ValueError, match=r"face 0: errors of its landmarks .* got nan"):
        metrics.nme_by_landmark(np.array([[0.1, math.nan]]))


@pytest.mark.parametrize("chosen", [np.ones((1, 2)), np.ones((2, 2), dtype=bool)])
def test_flags_are_flags(chosen: np.ndarray) -> None:
    """Numbers are not taken for flags, nor one face's for another's."""
    with pytest.raises(ValueError, match=r"must be bool \[1, 2\]"):
        metrics.nme_where(np.array([[0.1, 0.2]]), chosen)


def test_visibility_scores_find_the_covered() -> None:
    """Said to be covered: three, two of them rightly; covered: four."""
    visible = np.array([[False, False, True, True], [False, False, True, True]])
    said = np.array([[False, False, False, True], [True, True, True, True]])
    scores = metrics.visibility_scores(said, visible)

    assert (scores.precision, scores.recall) == (2 / 3, 2 / 4)
    assert scores.f1 == pytest.approx(2 / (3 / 2 + 4 / 2), rel=1e-15)


def test_visibility_of_nothing_covered_is_refused() -> None:
    """There is no recall where nothing is covered, and no precision where nothing is said to be."""
    some, none = np.array([[True, False]]), np.array([[True, True]])

    with pytest.raises(ValueError, match="covered in the annotation"):
        metrics.visibility_scores(some, none)
    with pytest.raises(ValueError, match="said to be covered"):
        metrics.visibility_scores(none, some)


def test_stepwise_figures_are_those_of_published_code() -> None:
    """Simpson's rule with weights 1 4 2 4 1 on five points, written out; failures counted at the last of them."""
    errors = [0.01, 0.03, 0.06, 0.5]
    heights = [0, 0.25, 0.5, 0.75, 0.75]  # at most 0, 0.02, 0.04, 0.06, 0.08
    expected = 0.02 / 3 * sum(w * h for w, h in zip((1, 4, 2, 4, 1), heights, strict=True)) / 0.08

    assert metrics.auc_stepwise(errors, 0.08, step=0.02) == pytest.approx(expected, rel=1e-12)
    assert metrics.failure_rate_stepwise(errors, 0.08, step=0.02) == 0.25


def test_stepwise_failures_may_be_counted_a_step_too_late() -> None:
    """At 0.07 the published grid ends at 0.0701, so an error between is no failure there; at 0.08 it is."""
    assert metrics.failure_rate_stepwise([0.07005], 0.07) == 0
    assert metrics.failure_rate([0.07005], 0.07) == 1
    assert metrics.failure_rate_stepwise([0.08005], 0.08) == 1


def test_published_tables_can_be_checked() -> None:
    """Full is the mean of 554 Common and 135 Challenging faces: ODN's table agrees, ADODN's printed 3.35 cannot."""
    counts = (554, 135)

    low, high = metrics.rounded_mean_range((3.56, 6.67), counts, decimals=2)
    assert low <= 4.17 <= high
    assert metrics.weighted_mean((2.80, 5.81), counts) == pytest.approx((554 * 2.80 + 135 * 5.81) / 689, rel=1e-15)
    assert metrics.rounded_mean_range((2.80, 5.81), counts, decimals=2) == (3.38, 3.39)
    with pytest.raises(ValueError, match="count of at least 1"):
        metrics.weighted_mean((2.80, 5.81), (554, 0))


def test_figures_that_no_faces_can_have_are_refused() -> None:
    """Half the faces above 0.1 have a mean above 0.05; a mean above the threshold has failures."""
    with pytest.raises(ValueError, match="must fit in a mean error"):
        metrics.auc_bounds(0.04, 0.1, failure_rate=0.5)
    with pytest.raises(ValueError, match="needs failures"):
        metrics.auc_bounds(0.2, 0.1, failure_rate=0)
    with pytest.raises(ValueError, match="mean error must be"):
        metrics.auc_bounds(math.nan, 0.1)
