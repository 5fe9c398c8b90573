"""The ADODN paper's studies as data: which trainings each takes, what the paper says, and the table that comes of it.

    study = STUDIES["ablation"]
    study.trainings(base, seeds=(0, 1, 2))              # base: an experiment on its data
    table(study, evaluations, subset="challenging")

Adding a study is adding a value to `STUDIES`. Trains nothing itself: `adodn study NAME` does.

Whether a difference is real, `compare_trainings` says: would other trainings differ on other faces? Its p-values are
adjusted for the number of variants (Holm). Of one seed only the models as they are can be compared, by a permutation
test over faces; then nothing is called real.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adodn.config import ExperimentConfig
from adodn.errors import ConfigError
from adodn.evaluate import aligned
from adodn.evaluate.faces import Numbers
from adodn.statistics import (
    PairedTest,
    TrainingsComparison,
    adjusted_pvalues,
    compare_trainings,
    mean_interval,
    paired_permutation_test,
)
from tune.runs import Evaluation, Training

_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row of a study."""

    name: str
    fields: dict[str, object]
    """Dotted fields of the config."""
    place: tuple[float, ...] = ()
    """Its values on the study's axes."""
    paper: float | None = None
    """What the paper has for it, NME in per cent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Variants of one experiment, compared with one of them."""

    name: str
    about: str
    """What the paper says of it."""
    reference: str
    """Name of the variant that others are compared with."""
    variants: tuple[Variant, ...]
    axes: tuple[str, ...] = ()
    """Names of what varies on a scale."""

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(variant for variant in self.variants if variant.name == name)

    def trainings(self, base: ExperimentConfig, seeds: Sequence[int]) -> dict[tuple[str, int], Training]:
        """(variant, seed) → the training, seed after seed, so that a broken-off study has whole ones.

        A run is named by what it computes: two studies share what both need.

        Args:
            base: The experiment on its data, with all modules.
            seeds: Each once.

        Raises:
            ConfigError: If seeds repeat or there are none, `base` lacks a module, or a field is refused.
        """
        if not seeds or len(set(seeds)) < len(seeds):
            raise ConfigError(f"a study takes seeds that differ, at least one, got {list(seeds)!r}")
        if "none" in (base.model.geometry, base.model.occlusion) or not base.model.low_rank:
            raise ConfigError(f"study {self.name!r} varies a model with all modules, {base.name!r} lacks one")
        return {
            (variant.name, seed): Training.of(base.with_fields(variant.fields), seed)
            for seed in seeds
            for variant in self.variants
        }


def _grid(p: Sequence[float], tau_d: Sequence[float]) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            name=f"p {one:g}, τ_d {other:g}",
            fields={"model.drop_probability": one, "model.drop_threshold": other},
            place=(one, other),
        )
        for one, other in itertools.product(p, tau_d)
    )


_NO_GM: dict[str, object] = {"model.geometry": "none"}
_NO_ADM: dict[str, object] = {"model.occlusion": "none"}
_NO_LM: dict[str, object] = {"model.low_rank": False}

STUDIES = {
    study.name: study
    for study in (
        Study(
            name="sensitivity",
            about="Section V-D: stable over a reasonable range of p and τ_d, p = 0.5 balanced; no figures given",
            reference="p 0.5, τ_d 0.8",
            variants=_grid(p=(0.1, 0.3, 0.5, 0.7, 0.9), tau_d=(0.6, 0.8, 0.9)),
            axes=("p", "tau_d"),
        ),
        Study(
            name="reduction",
            about="Section V-D1: r = 8 is best, larger r reduces accuracy; no figures given",
            reference="r 8",
            variants=tuple(
                Variant(name=f"r {r}", fields={"model.reduction": r}, place=(r,)) for r in (2, 4, 8, 16, 32)
            ),
            axes=("r",),
        ),
        Study(
            name="ablation",
            about="Table 4, on 300W Challenging, by the outer eye corners",
            reference="GM + ADM + LM",
            variants=(
                Variant(name="BRNet", fields=_NO_GM | _NO_ADM | _NO_LM, paper=7.21),
                Variant(name="GM + LM", fields=_NO_ADM, paper=6.90),
                Variant(name="GM + ADM", fields=_NO_LM, paper=6.72),
                Variant(name="ADM + LM", fields=_NO_GM, paper=6.68),
                Variant(name="GM + ADM + LM", fields={}, paper=5.81),
            ),
        ),
    )
}
"""By name, as the command takes it."""


def get(name: str) -> Study:
    """The study of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in STUDIES:
        raise ConfigError(f"unknown study {name!r}; available: {', '.join(STUDIES)}")
    return STUDIES[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A variant's results; errors in per cent, differences in percentage points, below 0 where it is better."""

    name: str
    nme: float
    """Mean over seeds."""
    by_seed: tuple[float, ...]
    nme_interval: tuple[float, float] | None
    """95 % over seeds; None of one seed."""
    difference: float | None
    """To the reference; None for itself."""
    difference_interval: tuple[float, float] | None
    """95 % over seeds and faces; None of one seed."""
    pvalue: float | None
    """Over seeds and faces, of one seed over faces alone; adjusted for the number of variants."""
    is_real: bool | None
    """Whether the p-value is below 0.05, and so the interval leaves out 0; None of one seed, which cannot say."""
    paper: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTable:
    """All rows of a study, in its order."""

    study: str
    about: str
    reference: str
    subset: str
    faces: int
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def cells(self) -> list[tuple[str, ...]]:
        """Text: variant, NME, interval, difference, interval, p-value, real or not, the paper's NME."""
        return [
            (
                row.name,
                f"{row.nme:.2f}",
                _span(row.nme_interval),
                "" if row.difference is None else f"{row.difference:+.2f}",
                _span(row.difference_interval, "+.2f"),
                "" if row.pvalue is None else f"{row.pvalue:.4f}",
                "" if row.is_real is None else "yes" if row.is_real else "no",
                "" if row.paper is None else f"{row.paper:.2f}",
            )
            for row in self.rows
        ]


HEADS = ("variant", "NME %", "95 % over seeds", "difference", "95 %", "p", "real", "paper")
"""Of `StudyTable.cells`."""


def table(study: Study, evaluations: Mapping[tuple[str, int], Evaluation], *, subset: str) -> StudyTable:
    """What a study found.

    Args:
        study: Its variants are the rows.
        evaluations: By variant and seed: each variant with each seed.
        subset: Whose faces count.

    Raises:
        ConfigError: If there is no such subset.
        DataError: If two evaluations are not of the same faces, annotation and measure, or two trainings of a
            variant are one.
    """
    seeds, names = sorted({seed for _, seed in evaluations}), [variant.name for variant in study.variants]
    reports = [evaluations[name, seed].report for name in names for seed in seeds]
    errors = 100 * aligned(reports, subset=subset).reshape(len(names), len(seeds), -1)
    by_name = dict(zip(names, errors, strict=True))
    against = by_name.pop(study.reference)
    compared = {name: _compared(mine, against) for name, mine in by_name.items()}
    pvalues = adjusted_pvalues({name: found.pvalue for name, found in compared.items()})
    rows = [
        _row(variant, mine, compared.get(variant.name), pvalues.get(variant.name))
        for variant, mine in zip(study.variants, errors, strict=True)
    ]
    return StudyTable(
        study=study.name,
        about=study.about,
        reference=study.reference,
        subset=subset,
        faces=errors.shape[-1],
        seeds=tuple(seeds),
        rows=tuple(rows),
    )


def _compared(mine: Numbers, against: Numbers) -> TrainingsComparison | PairedTest:
    """Of `[S, N]` each: the two recipes where there are several trainings, else the two models as they are."""
    return compare_trainings(mine, against) if len(mine) > 1 else paired_permutation_test(mine[0], against[0])


def _row(
    variant: Variant, errors: Numbers, compared: TrainingsComparison | PairedTest | None, pvalue: float | None
) -> Row:
    means = errors.mean(axis=1).tolist()
    over_seeds = mean_interval(means) if len(means) > 1 else None
    of_recipes = compared if isinstance(compared, TrainingsComparison) else None
    return Row(
        name=variant.name,
        nme=float(np.mean(means)),
        by_seed=tuple(means),
        nme_interval=None if over_seeds is None else (over_seeds.low, over_seeds.high),
        difference=None if compared is None else compared.difference,
        difference_interval=None if of_recipes is None else (of_recipes.low, of_recipes.high),
        pvalue=pvalue,
        is_real=None if of_recipes is None or pvalue is None else pvalue < _LEVEL,
        paper=variant.paper,
    )


def _span(ends: tuple[float, float] | None, form: str = ".2f") -> str:
    return "" if ends is None else f"{ends[0]:{form}} … {ends[1]:{form}}"
