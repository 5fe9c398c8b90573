"""The statistics keep their word: of simulated experiments with known truth they err as often as they say.

Shares are bounded by the binomial distribution: a test that keeps its word fails here once in 10,000 seeds.
"""

import pytest

from tests import calibration
from tests.calibration import likely, share


def test_permutation_test_rejects_a_true_null_at_its_level() -> None:
    """Where two models are alike, 5 % of the experiments say that they differ."""
    low, high = likely(0.05, 500)

    assert low <= share(calibration.permutation_rejects(0), 500) <= high


def test_permutation_test_finds_a_known_shift() -> None:
    """A shift of four tenths of the mean error is found in nearly every experiment with 40 faces."""
    assert share(calibration.permutation_rejects(0.4), 200) > 0.95


def test_the_detectable_difference_is_found_as_often_as_promised() -> None:
    """A shift of that size is found in 80 % of the experiments."""
    low, high = likely(0.8, 500)

    assert low <= share(calibration.detectable_is_found(), 500) <= high


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_intervals_of_skewed_differences_cover_as_often_as_they_say(method: str) -> None:
    """Of 200 exponential differences, a 90 % interval holds the true mean in 90 % of the experiments."""
    low, high = likely(0.9, 300)

    assert low <= share(calibration.interval_covers(method, num_faces=200), 300) <= high


@pytest.mark.parametrize("luck", [0.0, 0.1, 0.5])
def test_recipes_that_are_alike_are_found_so(luck: float) -> None:
    """However much trainings differ by luck, at most 5 % of the comparisons of equal recipes find a difference."""
    assert share(calibration.recipes_differ(luck), 1000) <= likely(0.05, 1000)[1]


def test_the_comparison_of_recipes_is_not_merely_silent() -> None:
    """Where luck is all, the level is used up; and a true difference is found."""
    assert share(calibration.recipes_differ(0.5), 1000) >= likely(0.05, 1000)[0]
    assert share(calibration.recipes_differ(0.1, shift=1.0), 200) > 0.95


def test_intervals_of_recipes_cover() -> None:
    """The 95 % interval of equal recipes holds 0 in 95 % of the comparisons."""
    low, high = likely(0.95, 1000)

    assert low <= share(calibration.recipes_interval_covers(0.5), 1000) <= high


def test_a_test_that_ignores_trainings_or_faces_rejects_too_often() -> None:
    """The same experiments tell a wrong test from a right one: over faces or trainings alone, the level is broken."""
    highest = likely(0.05, 200)[1]

    assert share(calibration.faces_alone_reject(0.5), 200) > 3 * highest
    assert share(calibration.means_alone_reject(0.0), 200) > 3 * highest
