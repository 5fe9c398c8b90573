"""The paper's studies: their trainings are those of the recipes, and their table says what the errors say.

pytest tests/unit/test_studies.py
"""

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from adodn import evaluate, protocols, recipes
from adodn.errors import ConfigError, DataError
from adodn.evaluate import FaceErrors
from tune import studies
from tune.runs import Evaluation
from tune.studies import STUDIES, Study, table
from tune.study_pictures import study_figure

BASE = recipes.adodn_300w()
ROWS = {
    "BRNet": recipes.adodn_300w_brnet,
    "GM + LM": recipes.adodn_300w_gm_lm,
    "GM + ADM": recipes.adodn_300w_gm_adm,
    "ADM + LM": recipes.adodn_300w_adm_lm,
    "GM + ADM + LM": recipes.adodn_300w,
}
REDUCTION = STUDIES["reduction"]


def evaluation(nme: np.ndarray, first: int = 0) -> Evaluation:
    """Of faces of which the even ones are challenging, each landmark off by the face's error to the right."""
    count = len(nme)
    target = np.random.default_rng(1).uniform(0, 100, (68, 2))
    target[45] = target[36] + [100, 0]
    faces = FaceErrors(
        protocol=protocols.get("68"),
        normaliser="outer_eye_corners",
        keys=tuple(f"face-{first + number:03}" for number in range(count)),
        subsets=tuple(("common" if number % 2 else "challenging", "full") for number in range(count)),
        predicted=target + nme[:, None, None] * np.array([100, 0]),
        target=np.tile(target, (count, 1, 1)),
        visible=np.ones((count, 68), dtype=bool),
        boxes=np.tile([0.0, 0, 100, 100], (count, 1)),
    )
    return Evaluation(report=evaluate.report(faces, "300w", "0" * 64, "outer_eye_corners"), answer={})


def evaluations(
    shifts: dict[str, float], seeds: int = 3, spread: float = 1e-4, study: Study = REDUCTION
) -> dict[tuple[str, int], Evaluation]:
    """The reference's errors, those of variants larger by a shift; all of a seed are off by the same luck."""
    rng = np.random.default_rng(0)
    faces, luck = rng.uniform(0.02, 0.08, 40), rng.normal(0, spread, seeds)
    by_shift = {shift: [evaluation(faces + shift + one) for one in luck] for shift in {0.0, *shifts.values()}}
    return {
        (variant.name, seed): by_shift[shifts.get(variant.name, 0.0)][seed]
        for variant in study.variants
        for seed in range(seeds)
    }


@pytest.mark.parametrize("name", ROWS)
def test_the_ablation_trains_the_recipes_of_its_table(name: str) -> None:
    """Each row is the recipe's experiment, and has the figure that the recipe's docstring has."""
    study = STUDIES["ablation"]
    training = study.trainings(BASE, [0])[name, 0]
    stated = re.search(r"(\d\.\d\d) Challenging", ROWS[name].__doc__ or "")

    assert training.config.fingerprint() == ROWS[name]().fingerprint()
    assert stated is not None and study.variant(name).paper == float(stated[1])


@pytest.mark.parametrize("study", STUDIES.values(), ids=str)
def test_every_study_holds_the_papers_setting(study: Study) -> None:
    """Its reference is the recipe itself, so that studies share those runs; no two variants compute the same."""
    trainings = study.trainings(BASE, [0, 1])

    assert trainings[study.reference, 0].run_name == BASE.run_name
    assert len({training.run_name for training in trainings.values()}) == 2 * len(study.variants)
    for (_, seed), training in trainings.items():
        assert training.config.train.seed == seed
        assert training.run_name.endswith(training.config.fingerprint())


def test_a_study_follows_the_data() -> None:
    """On another dataset all runs are others."""
    here, there = (
        REDUCTION.trainings(BASE.on_dataset(digest * 64, protocols.get("68")), [0]).values() for digest in "ab"
    )

    assert not {one.run_name for one in here} & {one.run_name for one in there}


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_differ(seeds: list[int]) -> None:
    """None, or one twice, would feign certainty."""
    with pytest.raises(ConfigError, match="seeds"):
        REDUCTION.trainings(BASE, seeds)


def test_what_lacks_a_module_has_no_study() -> None:
    """Without its modules a model has no τ_d or r, and its rows would all be one."""
    with pytest.raises(ConfigError, match="all modules"):
        REDUCTION.trainings(recipes.adodn_300w_brnet(), [0])
    with pytest.raises(ConfigError, match="unknown study 'all'; available: sensitivity"):
        studies.get("all")


def test_a_shift_is_found_and_nothing_else() -> None:
    """A variant worse on every face by 1 point is so in the table; equal ones differ by nothing, with p = 1."""
    found = {row.name: row for row in table(REDUCTION, evaluations({"r 32": 0.01}), subset="all").rows}

    worse, equal, reference = found["r 32"], found["r 4"], found["r 8"]
    welch = stats.ttest_ind(worse.by_seed, reference.by_seed, equal_var=False).confidence_interval()
    assert worse.difference == pytest.approx(1.0)
    assert worse.difference_interval == pytest.approx((welch.low, welch.high))  # where no face has anything of its own
    assert worse.is_real is True and worse.pvalue is not None and worse.pvalue < 0.01
    assert (equal.difference, equal.pvalue, equal.is_real) == (pytest.approx(0, abs=1e-12), 1.0, False)
    assert (reference.difference, reference.pvalue, reference.is_real) == (None, None, None)


def test_what_seeds_alone_could_do_is_not_real() -> None:
    """A difference on every face, which the models of one seed show, is none while trainings of a variant differ by
    more."""
    alone, several = (
        table(REDUCTION, evaluations({"r 32": 0.002}, seeds=seeds, spread=0.01), subset="all").rows[-1]
        for seeds in (1, 3)
    )

    assert alone.pvalue is not None and alone.pvalue < 0.05
    assert several.pvalue is not None and several.pvalue > 0.5
    assert several.is_real is False


@settings(deadline=None, max_examples=10)
@given(st.floats(-0.01, 0.01))
def test_what_is_real_is_so_by_both_words(shift: float) -> None:
    """A difference is called real by its p-value, and then its interval leaves out 0; p-values are Holm's of four."""
    rows = table(REDUCTION, evaluations({"r 32": shift}, spread=1e-3), subset="all").rows
    row = rows[-1]

    assert row.pvalue is not None and row.difference_interval is not None
    assert row.is_real is (row.pvalue < 0.05)
    low, high = row.difference_interval
    assert not row.is_real or low > 0 or high < 0
    raw = stats.ttest_ind(row.by_seed, rows[2].by_seed, equal_var=False).pvalue
    assert row.pvalue == pytest.approx(min(1.0, 4 * raw), rel=1e-6)


def test_one_seed_says_nothing_of_others() -> None:
    """No interval, and nothing is called real."""
    rows = table(REDUCTION, evaluations({"r 32": 0.01}, seeds=1), subset="all").rows

    assert all(row.nme_interval is row.difference_interval is row.is_real is None for row in rows)
    assert rows[-1].difference == pytest.approx(1.0)


def test_a_subset_is_its_own_faces() -> None:
    """Counts and means are those of the faces that are in it; one that does not exist names those that do."""
    given_ = evaluations({})
    found = table(REDUCTION, given_, subset="challenging")
    by_hand = [given_["r 8", seed].report.errors.nme[::2] for seed in range(3)]

    assert found.faces == 20
    assert found.rows[2].nme == pytest.approx(100 * np.mean(by_hand))
    with pytest.raises(ConfigError, match=r"no subset 'masked'.*it has challenging, common, full, all"):
        table(REDUCTION, given_, subset="masked")


def test_other_faces_are_not_compared() -> None:
    """An evaluation on other faces is refused."""
    given_ = evaluations({}) | {("r 32", 1): evaluation(np.full(40, 0.05), first=1)}

    with pytest.raises(DataError, match="same faces"):
        table(REDUCTION, given_, subset="all")


@settings(deadline=None, max_examples=15)
@given(st.floats(-0.015, 0.05))
def test_differences_add_up(shift: float) -> None:
    """A row's error is the reference's and its difference, whatever the shift."""
    rows = {row.name: row for row in table(REDUCTION, evaluations({"r 4": shift}), subset="all").rows}

    assert rows["r 4"].difference == pytest.approx(rows["r 4"].nme - rows["r 8"].nme, abs=1e-9)
    assert rows["r 4"].difference == pytest.approx(100 * shift, abs=1e-9)


def test_the_picture_has_the_papers_figures_where_there_are_some() -> None:
    """Orange marks on the ablation's picture, none on that of the reduction ratio."""
    marks = []
    for name in ("ablation", "reduction"):
        png = study_figure(table(STUDIES[name], evaluations({}, study=STUDIES[name], spread=0.002), subset="all"))
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        marks.append(int((abs(pixels - (213, 94, 0)).sum(axis=-1) < 12).sum()))

    assert marks[0] > 100
    assert marks[1] == 0
