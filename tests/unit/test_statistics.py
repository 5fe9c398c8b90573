"""Paired statistics against full enumeration and the t distribution."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from adodn.statistics import paired_bootstrap_interval, paired_permutation_test

RNG = np.random.default_rng(7)


def test_permutation_test_of_few_faces_is_the_full_enumeration() -> None:
    """With 2^8 sign patterns the p-value is the share of those at least as extreme, counted one by one."""
    a, b = RNG.random(8), RNG.random(8)
    observed = abs((a - b).mean())
    means = [abs(np.mean(signs * (a - b))) for signs in itertools.product([-1, 1], repeat=8)]
    expected = np.mean([mean >= observed - 1e-12 for mean in means])

    result = paired_permutation_test(a, b)

    assert result.pvalue == pytest.approx(expected, abs=1e-12)
    assert result.difference == pytest.approx(a.mean() - b.mean(), abs=1e-15)


def test_permutation_test_of_many_faces_agrees_with_the_t_test() -> None:
    """For many normal differences the drawn p-value lies within four standard errors of Student's."""
    a = RNG.random(400)
    b = a + RNG.normal(0.01, 0.1, 400)
    expected = stats.ttest_rel(a, b).pvalue
    error = math.sqrt(expected * (1 - expected) / 10_000)

    assert paired_permutation_test(a, b).pvalue == pytest.approx(expected, abs=4 * error + 0.005)


def test_pairs_matter() -> None:
    """A small shift that is the same for each face is found, though it drowns in the spread between faces."""
    a = RNG.random(200)
    b = a + 0.01 + RNG.normal(0, 0.001, 200)

    assert paired_permutation_test(a, b).pvalue < 0.001
    assert stats.ttest_ind(a, b).pvalue > 0.1


def test_equal_errors_never_differ() -> None:
    """Comparing a model to itself has p-value 1 and an interval of width 0."""
    a = RNG.random(20)
    interval = paired_bootstrap_interval(a, a)

    assert paired_permutation_test(a, a).pvalue == 1
    assert (interval.low, interval.high) == (0, 0)


def test_bootstrap_interval_agrees_with_the_t_interval() -> None:
    """For many normal differences BCa and Student agree within a twentieth of the width."""
    a = RNG.random(500)
    b = a + RNG.normal(0.02, 0.1, 500)
    interval = paired_bootstrap_interval(a, b)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)

    width = expected.high - expected.low
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=width / 20)


def test_bootstrap_interval_covers_as_often_as_it_says() -> None:
    """Of 150 experiments with a known difference, a 90 % interval holds it in 90 %, within four standard errors."""
    held = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        differences = rng.normal(0.3, 1, 60)
        interval = paired_bootstrap_interval(differences, np.zeros(60), confidence=0.9, num_resamples=499, seed=seed)
        held += interval.low <= 0.3 <= interval.high

    assert held / 150 == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / 150))


def test_an_interval_is_a_number_even_where_differences_all_agree() -> None:
    """Differences that are equal but for rounding, or differ in one face of many, give finite bounds."""
    for a, b in (([0.1, 0.2], [0.2, 0.3]), ([0.1] * 50, [0.1] * 49 + [0.2])):
        interval = paired_bootstrap_interval(a, b)
        assert interval.low <= interval.difference <= interval.high


def test_the_same_seed_gives_the_same_answer() -> None:
    """Draws come from the seed and from nothing else."""
    a, b = RNG.random(30), RNG.random(30)

    assert paired_permutation_test(a, b, seed=3) == paired_permutation_test(a, b, seed=3)
    assert paired_bootstrap_interval(a, b, seed=3) == paired_bootstrap_interval(a, b, seed=3)
    assert paired_bootstrap_interval(a, b, seed=3) != paired_bootstrap_interval(a, b, seed=4)


@pytest.mark.parametrize("test", [paired_permutation_test, paired_bootstrap_interval])
@pytest.mark.parametrize(
    ("a", "b"), [([0.1, 0.2], [0.1]), ([0.1], [0.2]), ([0.1, math.nan], [0.1, 0.2]), ([[0.1, 0.2]], [[0.1, 0.2]])]
)
def test_errors_that_are_not_pairs_are_refused(test: object, a: list[float], b: list[float]) -> None:
    """Other lengths, too few faces or NaN are errors, never a p-value."""
    assert callable(test)
    with pytest.raises(ValueError, match="errors must be"):
        test(a, b)
