"""Statistics against full enumeration, closed forms and scipy's own; `test_calibration.py` counts how they err."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from adodn.errors import DataError
from adodn.statistics import (
    adjusted_pvalues,
    compare_trainings,
    effect_size,
    mean_interval,
    minimum_detectable_difference,
    paired_bootstrap_interval,
    paired_permutation_test,
)

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


def test_percentile_interval_is_the_quantiles_of_all_resamples() -> None:
    """Of three faces all 27 resamples can be written down; many drawn ones come to the same quantiles."""
    differences = np.array([0.0, 1.0, 5.0])
    means = [np.mean(drawn) for drawn in itertools.product(differences, repeat=3)]
    expected = np.quantile(means, [0.25, 0.75], method="inverted_cdf")
    interval = paired_bootstrap_interval(differences, np.zeros(3), confidence=0.5, method="percentile")

    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=1e-9)
    assert interval.method == "percentile"


def test_bca_leans_to_where_differences_are_skewed() -> None:
    """With a long tail upwards BCa reaches farther up than the percentiles, and less far down."""
    differences = np.random.default_rng(1).lognormal(0, 1.5, 60)
    bca, plain = (
        paired_bootstrap_interval(differences, np.zeros(60), method=method) for method in ("BCa", "percentile")
    )

    assert bca.low > plain.low
    assert bca.high > plain.high


def test_better_share_counts_faces() -> None:
    """Six of ten better, one tied: 0.65, and without ties the interval is scipy's Wilson interval."""
    b = np.full(10, 0.5)
    a = np.array([0.1] * 6 + [0.5] + [0.9] * 3)

    assert effect_size(a, b).value == pytest.approx(0.65, rel=1e-15)
    found = effect_size(a[:6].tolist() + a[7:].tolist(), b[:9], confidence=0.9)
    expected = stats.binomtest(6, 9).proportion_ci(0.9, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_a_share_of_all_faces_is_not_certain() -> None:
    """Better on each of 20 faces, the share may still be less than 1 in general."""
    found = effect_size(np.zeros(20), np.ones(20))

    assert (found.value, found.high) == (1, pytest.approx(1))
    assert found.low == pytest.approx(stats.binomtest(20, 20).proportion_ci(0.95, method="wilson").low)


def test_cohens_dz_is_the_t_statistic_over_root_n() -> None:
    """d_z = t / √N, and its interval holds it, on one side of 0 where the t-test is sure."""
    a = RNG.random(100)
    b = a + RNG.normal(0.05, 0.1, 100)
    found = effect_size(a, b, name="cohen_dz")

    assert found.value == pytest.approx(stats.ttest_rel(a, b).statistic / 10, rel=1e-12)
    assert found.low < found.value < found.high < 0


@pytest.mark.parametrize("b", [np.full(30, 0.2), np.full(30, 0.1), np.array([0.1] * 29 + [0.2])])
def test_cohens_dz_without_a_spread_is_an_error(b: np.ndarray) -> None:
    """There is nothing to divide by; the message says what to ask for."""
    with pytest.raises(DataError, match="ask for better_share"):
        effect_size(np.full(30, 0.1), b, name="cohen_dz")


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    """A comparison's adjusted p-value is the largest Bonferroni p-value of all sets of comparisons that hold it."""
    for values in RNG.random((20, 5)) ** 3:
        names = "abcde"
        expected = {
            name: max(
                min(1.0, len(chosen) * min(values[i] for i in chosen))
                for size in range(1, 6)
                for chosen in itertools.combinations(range(5), size)
                if place in chosen
            )
            for place, name in enumerate(names)
        }

        assert adjusted_pvalues(dict(zip(names, values.tolist(), strict=True))) == pytest.approx(expected, rel=1e-12)


def test_false_discoveries_are_bounded_as_worked_out_by_hand() -> None:
    """Of 0.01, 0.04, 0.03 the steps are 3 · 0.01, 3/3 · 0.04, 3/2 · 0.03 cut to the next; `by` adds 1 + 1/2 + 1/3."""
    values = {"x": 0.01, "y": 0.04, "z": 0.03}
    expected = {"x": 0.03, "y": 0.04, "z": 0.04}

    assert adjusted_pvalues(values, method="bh") == pytest.approx(expected)
    assert adjusted_pvalues(values, method="by") == pytest.approx({k: 11 / 6 * v for k, v in expected.items()})


@pytest.mark.parametrize("values", [{}, {"x": math.nan}, {"x": 0.1, "y": -0.1}, {"x": 1.1}])
def test_what_is_no_pvalue_is_refused(values: dict[str, float]) -> None:
    """An empty table, NaN or a number outside 0 … 1 is an error."""
    with pytest.raises(ValueError, match="p-values must be"):
        adjusted_pvalues(values)


def test_detectable_difference_is_that_of_the_normal_for_many_faces() -> None:
    """For 2,000 faces it is (z₀.₉₇₅ + z₀.₈) standard errors, and four times the faces halve it."""
    a, b = RNG.random(2000), RNG.random(2000)
    error = (a - b).std(ddof=1) / math.sqrt(2000)
    whole, quarter = (minimum_detectable_difference(a[:n], b[:n]) for n in (2000, 500))

    assert whole == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error, rel=2e-3)
    assert quarter / whole == pytest.approx(2, rel=0.1)


def test_detectable_difference_does_not_look_at_the_difference() -> None:
    """A shift of one model changes nothing; more power, or a stricter level, asks for a larger difference."""
    a, b = RNG.random(50), RNG.random(50)
    plain = minimum_detectable_difference(a, b)

    assert minimum_detectable_difference(a + 3, b) == pytest.approx(plain, rel=1e-9)
    assert minimum_detectable_difference(a, b, power=0.9) > plain
    assert minimum_detectable_difference(a, b, level=0.01) > plain
    assert minimum_detectable_difference(a, a) == 0
    with pytest.raises(ValueError, match="0 < level < power < 1"):
        minimum_detectable_difference(a, b, power=0.01)


def test_trainings_of_a_balanced_design_have_the_mean_squares_of_anova() -> None:
    """Where trainings and faces both matter, the variance is that of textbook mean squares, written out by loops."""
    rng = np.random.default_rng(3)
    a, b = (rng.normal(0, 1, (4, 1)) + rng.normal(0, 1, (1, 6)) + rng.normal(0, 0.1, (4, 6)) for _ in range(2))

    def squares(side: np.ndarray) -> tuple[float, float]:
        grand = side.mean()
        between = sum(6 * (row.mean() - grand) ** 2 for row in side) / 3
        left = sum((side[s, f] - side[s].mean() - side[:, f].mean() + grand) ** 2 for s in range(4) for f in range(6))
        return between / 24, left / 15 / 24

    (training_a, residual_a), (training_b, residual_b) = squares(a), squares(b)
    by_face = np.var(a.mean(0) - b.mean(0), ddof=1) / 6
    variance = training_a + training_b + by_face - residual_a - residual_b
    freedom = variance**2 / (
        (training_a**2 + training_b**2) / 3 + by_face**2 / 5 + (residual_a**2 + residual_b**2) / 15
    )
    found = compare_trainings(a, b, confidence=0.9)

    assert found.difference == pytest.approx(a.mean() - b.mean(), rel=1e-12)
    assert found.degrees_of_freedom == pytest.approx(freedom, rel=1e-9)
    half = stats.t.ppf(0.95, freedom) * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), rel=1e-9)
    assert found.pvalue == pytest.approx(2 * stats.t.sf(abs(found.difference) / math.sqrt(variance), freedom), rel=1e-9)
    expected = (training_a + training_b - residual_a - residual_b) / variance
    assert found.share_of_trainings == pytest.approx(expected, rel=1e-9)


def test_one_training_says_nothing_of_a_recipe() -> None:
    """With one training a side there is no spread to learn the luck of; one training named twice has none either."""
    a = RNG.random((3, 20))

    with pytest.raises(DataError, match="at least 2 trainings each, got 3 and 1"):
        compare_trainings(a, a[:1])
    with pytest.raises(DataError, match="each training counts once"):
        compare_trainings(a, np.stack([a[0], a[0]]))
    with pytest.raises(ValueError, match=r"of the same faces"):
        compare_trainings(a, a[:, :10])
    with pytest.raises(ValueError, match=r"finite"):
        compare_trainings(a, a * math.nan)


@pytest.mark.parametrize(
    "test", [paired_permutation_test, paired_bootstrap_interval, effect_size, minimum_detectable_difference]
)
@pytest.mark.parametrize(
    ("a", "b"), [([0.1, 0.2], [0.1]), ([0.1], [0.2]), ([0.1, math.nan], [0.1, 0.2]), ([[0.1, 0.2]], [[0.1, 0.2]])]
)
def test_errors_that_are_not_pairs_are_refused(test: object, a: list[float], b: list[float]) -> None:
    """Other lengths, too few faces or NaN are errors, never a p-value."""
    assert callable(test)
    with pytest.raises(ValueError, match="errors must be"):
        test(a, b)


def test_an_interval_over_seeds_is_students() -> None:
    """Of 1, 2, 3 the mean is 2 and the reach t(0.975, 2) / √3, by the printed tables."""
    found = mean_interval([1.0, 2.0, 3.0])

    assert found.mean == 2
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)
    for bad in ([1.0], [], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="at least 2 finite"):
            mean_interval(bad)
