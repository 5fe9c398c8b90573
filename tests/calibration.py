"""How well the statistics keep their word: simulated experiments whose truth is known, counted. Tests bound the counts.

python -m tests.calibration         # prints the table of docs/statistics.md

Errors are skewed like those of faces: a gamma distribution of shape 2, so that some faces are much worse than most.
"""

import sys
from collections.abc import Callable

import numpy as np
from scipy import stats

from adodn.statistics import (
    compare_trainings,
    minimum_detectable_difference,
    paired_bootstrap_interval,
    paired_permutation_test,
)

LEVEL = 0.05
Errors = np.ndarray
Experiment = Callable[[np.random.Generator], bool]


def share(experiment: Experiment, count: int, seed: int = 0) -> float:
    """In what share of the experiments it happened."""
    return sum(experiment(np.random.default_rng((seed, number))) for number in range(count)) / count


def likely(expected: float, count: int) -> tuple[float, float]:
    """Between which bounds a share lies in 9,999 of 10,000 tries, where its expectation is known."""
    low, high = stats.binom.interval(0.9999, count, expected)
    return low / count, high / count


def two_models(rng: np.random.Generator, num_faces: int, shift: float) -> tuple[Errors, Errors]:
    """Errors of two models on the same faces, alike but for a shift of a's mean by that share of the mean error."""
    hard = rng.gamma(2, 0.5, num_faces)
    a, b = (hard * rng.gamma(8, 1 / 8, num_faces) for _ in range(2))
    return a + shift, b


def trainings(rng: np.random.Generator, count: int, num_faces: int, luck: float) -> tuple[Errors, Errors]:
    """`[S, N]` twice: two recipes that are the same on average, each training with a mean of its own."""
    hard = rng.gamma(2, 0.5, num_faces)

    def recipe() -> Errors:
        own = hard * rng.gamma(8, 1 / 8, num_faces)
        return own + luck * rng.standard_normal((count, 1)) + 0.3 * rng.standard_normal((count, num_faces))

    return recipe(), recipe()


def permutation_rejects(shift: float, num_faces: int = 40) -> Experiment:
    def experiment(rng: np.random.Generator) -> bool:
        a, b = two_models(rng, num_faces, shift)
        return paired_permutation_test(a, b, num_permutations=199, seed=int(rng.integers(1 << 30))).pvalue <= LEVEL

    return experiment


def interval_covers(method: str, num_faces: int = 40) -> Experiment:
    """A 90 % interval of differences that are skewed themselves: exponential, of mean 1."""

    def experiment(rng: np.random.Generator) -> bool:
        differences = rng.exponential(1, num_faces)
        seed = int(rng.integers(1 << 30))
        interval = paired_bootstrap_interval(
            differences, np.zeros(num_faces), confidence=0.9, method=method, num_resamples=499, seed=seed
        )
        return interval.low <= 1 <= interval.high

    return experiment


def detectable_is_found(num_faces: int = 60) -> Experiment:
    """A shift of the size that is called detectable in 80 %, by a pilot on as many faces."""
    pilot = np.random.default_rng(0)
    shift = float(np.mean([minimum_detectable_difference(*two_models(pilot, num_faces, 0)) for _ in range(50)]))
    return permutation_rejects(shift, num_faces)


def recipes_differ(luck: float, count: int = 3, shift: float = 0.0, num_faces: int = 60) -> Experiment:
    def experiment(rng: np.random.Generator) -> bool:
        a, b = trainings(rng, count, num_faces, luck)
        return compare_trainings(a + shift, b).pvalue <= LEVEL

    return experiment


def recipes_interval_covers(luck: float, count: int = 3, num_faces: int = 60) -> Experiment:
    def experiment(rng: np.random.Generator) -> bool:
        result = compare_trainings(*trainings(rng, count, num_faces, luck))
        return result.low <= 0 <= result.high

    return experiment


def faces_alone_reject(luck: float, count: int = 3, num_faces: int = 60) -> Experiment:
    """The test that ignores seeds: trainings averaged, faces tested."""

    def experiment(rng: np.random.Generator) -> bool:
        a, b = trainings(rng, count, num_faces, luck)
        seed = int(rng.integers(1 << 30))
        return paired_permutation_test(a.mean(0), b.mean(0), num_permutations=199, seed=seed).pvalue <= LEVEL

    return experiment


def means_alone_reject(luck: float, count: int = 5, num_faces: int = 60) -> Experiment:
    """The test that ignores faces: Welch's over the means of trainings."""

    def experiment(rng: np.random.Generator) -> bool:
        a, b = trainings(rng, count, num_faces, luck)
        return bool(stats.ttest_ind(a.mean(1), b.mean(1), equal_var=False).pvalue <= LEVEL)

    return experiment


def resampled_covers(luck: float, count: int = 3, num_faces: int = 60) -> Experiment:
    """The percentile bootstrap over trainings and faces, for comparison; 95 %."""

    def experiment(rng: np.random.Generator) -> bool:
        a, b = trainings(rng, count, num_faces, luck)
        faces = rng.integers(0, num_faces, (399, num_faces))
        drawn = [side[rng.integers(0, count, (399, count))].mean(axis=1) for side in (a, b)]
        means = np.take_along_axis(drawn[0] - drawn[1], faces, axis=1).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        return bool(low <= 0 <= high)

    return experiment


def main() -> None:
    """Print each share with what it should be."""
    rows: list[tuple[str, str, Experiment]] = [
        ("permutation test, no difference: rejects", "0.05", permutation_rejects(0)),
        ("permutation test, difference 0.2: rejects", "often", permutation_rejects(0.2)),
        ("permutation test, detectable difference: rejects", "0.80", detectable_is_found()),
        ("90 % interval, BCa, 40 skewed differences: covers", "0.90", interval_covers("BCa")),
        ("90 % interval, percentile, the same: covers", "0.90", interval_covers("percentile")),
    ]
    for count in (2, 3, 5):
        rows += [
            (f"compare_trainings, {count} each, luck {luck}: rejects", "about 0.05", recipes_differ(luck, count))
            for luck in (0.0, 0.1, 0.5)
        ]
    rows += [
        ("compare_trainings, 3 each, luck 0.1, difference 1: rejects", "often", recipes_differ(0.1, shift=1)),
        ("faces alone, 3 each, luck 0.1: rejects", "0.05", faces_alone_reject(0.1)),
        ("faces alone, 3 each, luck 0.5: rejects", "0.05", faces_alone_reject(0.5)),
        ("means of trainings alone, 5 each, luck 0: rejects", "0.05", means_alone_reject(0.0)),
        ("compare_trainings, 3 each, luck 0.5: 95 % covers", "0.95", recipes_interval_covers(0.5)),
        ("bootstrap of trainings and faces, the same: covers", "0.95", resampled_covers(0.5)),
    ]
    sys.stdout.write("| experiment | should be | is, of 2,000 |\n|---|---|---|\n")
    for name, expected, experiment in rows:
        sys.stdout.write(f"| {name} | {expected} | {share(experiment, 2000):.3f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
