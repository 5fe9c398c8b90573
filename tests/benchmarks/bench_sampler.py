"""What the search's sampler gains over drawing at random, on a recorded surface: the error of what K trials choose.

import bench_sampler; bench_sampler.run()

TPE as the search has it: Optuna's `TPESampler` with a seed and its defaults, the papers' defaults as the first trial of
either. A trial sees the surface with the chance of a training; what counts is the error without it of the trial that
looks best. Many searches each, the first ten trials of a pair being the same by Optuna's choice.
"""

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from adodn.statistics import mean_interval, paired_permutation_test
from tests.benchmarks.measure import Row, row
from tests.benchmarks.search_surface import AXES, DEFAULTS, Surface

TRIALS = (10, 20, 40, 80)
SEARCHES = 40
_SPACE: dict[str, BaseDistribution] = {axis.name: FloatDistribution(axis.low, axis.high, log=axis.log) for axis in AXES}


def run(*, searches: int = SEARCHES, trials: tuple[int, ...] = TRIALS) -> list[Row]:
    """The measurement `search_sampler`: a row for each number of trials."""
    surface = Surface.read()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tpe, random = (
        100 * np.array([of_the_chosen(surface, kind(seed=seed), max(trials), seed) for seed in range(searches)])
        for kind in (TPESampler, RandomSampler)
    )
    return [_row(surface, tpe[:, count - 1], random[:, count - 1], count) for count in trials]


def of_the_chosen(surface: Surface, sampler: BaseSampler, trials: int, seed: int) -> NDArray[np.float64]:
    """`[trials]`: the true error, a fraction, of the trial that looks best so far, after each trial of one search."""
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(dict(DEFAULTS))
    chance = np.exp(np.random.default_rng(seed).normal(0, surface.noise, trials))
    true = []
    for factor in chance.tolist():
        trial = study.ask(_SPACE)
        true.append(surface.nme(trial.params))
        study.tell(trial, true[-1] * factor)
    return np.array([true[int(np.argmin(true[:count] * chance[:count]))] for count in range(1, trials + 1)])


def _row(surface: Surface, tpe: NDArray[np.float64], random: NDArray[np.float64], trials: int) -> Row:
    ours, peer, gain = (mean_interval(list(values)) for values in (tpe, random, random - tpe))
    return row(
        "search_sampler",
        ours.mean,
        "% NME of the chosen",
        best_peer=peer.mean,
        peer="drawn at random",
        after_trials=trials,
        searches=len(tpe),
        ours_low=ours.low,
        ours_high=ours.high,
        peer_low=peer.low,
        peer_high=peer.high,
        gain_points=gain.mean,
        gain_low=gain.low,
        gain_high=gain.high,
        pvalue=paired_permutation_test(tpe, random).pvalue,
        noise_percent=100 * surface.noise,
        defaults_nme=100 * surface.nme(DEFAULTS),
        recorded_points=len(surface.errors),
    )
