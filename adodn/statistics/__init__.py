"""Whether models differ, by how much, and how sure that is. Not here: what an error is (`adodn.metrics`).

    a, b = evaluate.paired(report_a, report_b)                  # the same faces in the same order
    result = paired_permutation_test(a, b)
    result.difference, result.pvalue                            # mean of a - b; negative when a is better
    paired_bootstrap_interval(a, b), effect_size(a, b), minimum_detectable_difference(a, b)
    compare_trainings(aligned(reports_a), aligned(reports_b))   # of recipes: several trainings each side
    mean_interval([0.041, 0.043, 0.040])                        # of one recipe over its trainings
    adjusted_pvalues({"common": 0.01, "challenging": 0.04})     # of several comparisons

docs/statistics.md says which question each answers, and how well each keeps its word in simulations.
"""

from adodn.statistics.detectable import minimum_detectable_difference
from adodn.statistics.effect import EffectSize, effect_size
from adodn.statistics.mean import MeanInterval, mean_interval
from adodn.statistics.multiple import adjusted_pvalues
from adodn.statistics.paired import Interval, PairedTest, paired_bootstrap_interval, paired_permutation_test
from adodn.statistics.trainings import TrainingsComparison, compare_trainings

__all__ = [
    "EffectSize",
    "Interval",
    "MeanInterval",
    "PairedTest",
    "TrainingsComparison",
    "adjusted_pvalues",
    "compare_trainings",
    "effect_size",
    "mean_interval",
    "minimum_detectable_difference",
    "paired_bootstrap_interval",
    "paired_permutation_test",
]
