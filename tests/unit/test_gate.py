"""The gate without any server: what each rule asks, what it sees, and what a bad rule is told.

pytest tests/unit/test_gate.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from adodn import protocols
from adodn.errors import ConfigError
from adodn.evaluate import Conditions, EvaluationReport, FaceErrors, report
from adodn.registry.gate import Gate
from adodn.registry.judging import Evidence, Verdict, judge
from tests.report_subjects import MASKED

PLAIN = Gate.parse({}, "test")
HARD = 10
"""Of twenty faces, the second half."""


def a_report(
    errors: list[float], digest: str = "a" * 64, dataset: str = "rendered", conditions: Conditions | None = None
) -> EvaluationReport:
    count = len(errors)
    target = np.zeros((count, 68, 2))
    target[:, 45, 0] = 1  # eyes one pixel apart, so that an error is an NME
    faces = FaceErrors(
        protocol=protocols.get("68"),
        normaliser="outer_eye_corners",
        keys=tuple(f"{i:03d}" for i in range(count)),
        subsets=tuple(("easy",) if i < HARD else ("hard",) for i in range(count)),
        predicted=target + np.array(errors)[:, None, None] * np.array([0.0, 1.0]),
        target=target,
        visible=np.ones((count, 68), dtype=np.bool_),
        boxes=np.array([[0.0, 0, 2, 2]] * count),
    )
    return report(faces, dataset, digest, "outer_eye_corners", conditions=conditions)


def evidence(version: int, *reports: EvaluationReport) -> Evidence:
    return Evidence(version=version, reports=reports, parameters=100, faces_per_s=50.0, smoke_difference=1e-6)


def rows(verdict: Verdict) -> dict[str, bool]:
    return {row.rule: row.passed for row in verdict.rows}


def drawn(mean: float, seed: int = 0) -> list[float]:
    return (mean + 0.01 * np.random.default_rng(seed).random(20)).tolist()


def test_the_default_gate_is_one() -> None:
    """The file of the package reads, and asks what it says."""
    gate = Gate.default()

    assert gate.primary.figure == "nme" and gate.subsets and gate.smoke and gate.speed
    assert not gate.by_hand


def test_the_first_champion_needs_no_opponent() -> None:
    """Rules that need one are not asked; the others are."""
    gate = Gate.parse({"subsets": {"max_worse": 0.1}, "size": {"max_parameters": 99}}, "test")

    verdict = judge(gate, evidence(1, a_report(drawn(0.05))), None)

    assert rows(verdict) == {"primary": True, "size": False}
    assert verdict.reason == "100 parameters, at most 99"


def test_masked_faces_are_decided_on_only_where_the_gate_says_so() -> None:
    """Of one dataset measured with and without masks, the plain figures decide, or those of the named qualifier."""
    plain, worn = a_report(drawn(0.05)), a_report(drawn(0.08), conditions=MASKED)
    better, worse = a_report(drawn(0.03)), a_report(drawn(0.12), conditions=MASKED)
    masked = Gate.parse({"primary": {"qualifier": MASKED.qualifier}}, "test")

    champion, challenger = evidence(1, plain, worn), evidence(2, better, worse)

    assert judge(PLAIN, challenger, champion).passed
    refused = judge(masked, challenger, champion)
    assert not refused.passed and f"all nme@outer_eye_corners {MASKED.qualifier}" in refused.reason
    assert "measured" in judge(masked, evidence(2, better), champion).reason


@settings(max_examples=15, deadline=None)
@given(gain=st.floats(-0.02, 0.02), asked=st.floats(0, 0.01), seed=st.integers(0, 5))
def test_the_near_end_of_the_interval_decides(gain: float, asked: float, seed: int) -> None:
    """A challenger passes where scipy's BCa interval of the improvement lies beyond what is asked, and only there."""
    old, noise = np.array(drawn(0.08, seed)), 0.004 * np.random.default_rng(seed + 9).standard_normal(20)
    new = old - gain + noise
    gate = Gate.parse({"primary": {"min_improvement": asked}}, "test")

    verdict = judge(gate, evidence(2, a_report(new.tolist())), evidence(1, a_report(old.tolist())))

    ours, theirs = (a_report(errors.tolist()).errors.nme for errors in (new, old))
    interval = stats.bootstrap((theirs - ours,), np.mean, n_resamples=10_000, rng=np.random.default_rng(0))
    assert verdict.rows[0].value == pytest.approx(interval.confidence_interval.low, abs=1e-12)
    assert verdict.passed == (interval.confidence_interval.low > asked)


def test_equal_models_do_not_change_places() -> None:
    """No improvement is not more than none."""
    same = a_report(drawn(0.05))

    assert not judge(PLAIN, evidence(2, same), evidence(1, same)).passed


def test_no_subset_may_be_given_up_for_the_mean() -> None:
    """Better over all and 40 % worse on the hard faces: refused, and the subset is named."""
    old, new = [0.10] * HARD + [0.05] * HARD, [0.01] * HARD + [0.07] * HARD
    gate = Gate.parse({"subsets": {"max_worse": 0.1}}, "test")

    verdict = judge(gate, evidence(2, a_report(new)), evidence(1, a_report(old)))

    assert rows(verdict) == {"primary": True, "subset easy": True, "subset hard": False}
    assert "rendered/hard nme@outer_eye_corners 7.000 % against version 1's 5.000 %: 40.0 % worse" in verdict.reason
    lenient = Gate.parse({"subsets": {"max_worse": 0.41}}, "test")
    assert judge(lenient, evidence(2, a_report(new)), evidence(1, a_report(old))).passed


def test_masked_faces_have_a_bound_of_their_own() -> None:
    """A result of another dataset by its full name; one that was not measured is refused, not skipped."""
    bound = {"bounds": [{"result": "masked-300w/all nme@outer_eye_corners", "at_most": 0.08}]}
    plain, gate = a_report(drawn(0.05)), Gate.parse(bound | {"primary": {"dataset": "rendered"}}, "test")

    def verdict(*more: EvaluationReport) -> Verdict:
        return judge(gate, evidence(1, plain, *more), None)

    assert verdict(a_report([0.07] * 3, dataset="masked-300w")).passed
    assert not verdict(a_report([0.09] * 3, dataset="masked-300w")).passed
    assert "version 1 has no result 'masked-300w/all nme@outer_eye_corners'" in verdict().reason


def test_fault_53_what_cannot_be_compared_is_refused() -> None:
    """Another digest, no evaluation, an unknown subset, several datasets, one face: a failed row that says so."""
    old = evidence(1, a_report(drawn(0.09)))
    better = drawn(0.01)
    cases = {
        "one dataset_digest only": (PLAIN, evidence(2, a_report(better, digest="b" * 64))),
        "version 2 was not measured": (PLAIN, evidence(2)),
        "version 2 and version 1 was not|not measured on what decides": (
            PLAIN,
            evidence(2, a_report(better, dataset="x")),
        ),
        "no subset 'ibug'": (Gate.parse({"primary": {"subset": "ibug"}}, "t"), evidence(2, a_report(better))),
        "figure 'nme/part/tail' cannot": (
            Gate.parse({"primary": {"figure": "nme/part/tail"}}, "t"),
            evidence(2, a_report(better)),
        ),
        "got 20 and 19": (PLAIN, evidence(2, a_report(better[:19]))),
    }
    for words, (gate, challenger) in cases.items():
        verdict = judge(gate, challenger, old)
        assert not verdict.passed
        assert any(part in verdict.reason for part in words.split("|")), verdict.reason

    two = (a_report(better), a_report(better, dataset="300w"))
    several = judge(PLAIN, evidence(2, *two), evidence(1, *two))
    assert "several evaluations could decide: 300w by outer_eye_corners, rendered by" in several.reason
    one_face = evidence(2, a_report([0.01])), evidence(1, a_report([0.05]))
    assert "an interval needs two at least" in judge(PLAIN, *one_face).reason


def test_networks_are_judged_too() -> None:
    """Size, speed alone and beside the champion, the answer kept at registration, and damage of files."""
    tables = {
        "size": {"max_parameters": 100},
        "speed": {"min_faces_per_s": 40, "min_ratio_to_champion": 0.5},
        "smoke": {"max_difference": 1e-4},
    }
    gate = Gate.parse(tables, "test")
    old, new = evidence(1, a_report(drawn(0.09))), evidence(2, a_report(drawn(0.01)))
    assert judge(gate, new, old).passed
    for broken, rule in (
        (replace(new, parameters=101), "size"),
        (replace(new, parameters=None), "size"),
        (replace(new, faces_per_s=39.0), "speed"),
        (replace(new, faces_per_s=None), "speed"),
        (replace(new, smoke_difference=2e-4), "smoke"),
        (replace(new, smoke_difference=None), "smoke"),
        (replace(new, smoke_difference=float("nan")), "smoke"),
        (replace(new, damage=("weights are not those",)), "files"),
    ):
        failed = [row.rule for row in judge(gate, broken, old).rows if not row.passed]
        assert failed == [rule]
    assert not judge(gate, new, replace(old, faces_per_s=101.0)).passed
    assert not judge(gate, new, replace(old, damage=("cut",))).passed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[primry]\n", "unknown key 'primry'; there may be bounds, by_hand, primary, size, smoke, speed, subsets"),
        ("[subsets]\nmax_wrse = 1\n", "unknown key 'subsets.max_wrse'; there may be max_worse"),
        ("[[bounds]]\nresult = 'x'\nmost = 1\n", "unknown key 'bounds.0.most'; there may be at_most, result"),
        ("[subsets]\n", "subsets.max_worse: Field required"),
        ("[subsets]\nmax_worse = '5 %'\n", "subsets.max_worse: Input should be a valid number, got '5 %'"),
        ("[primary]\nmin_improvement = -1.0\n", "primary.min_improvement: Input should be greater than or equal to 0"),
        ("[primary]\nmin_improvement = nan\n", "primary.min_improvement"),
        ("[smoke]\nmax_difference = inf\n", "smoke.max_difference: Input should be a finite number"),
        ("by_hand = 1\n", "by_hand: Input should be a valid boolean, got 1"),
        ("primary = 3\n", "primary: Input should be"),
        ("[primary\n", "no gate can be read from it"),
        ("x = " + "[" * 5000, "no gate can be read from it"),
        ("#" * 200_000, "no gate"),
    ],
)
def test_a_bad_rule_is_refused_by_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    """A gate that is not understood to the last word lets nobody through."""
    path = tmp_path / "gate.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as refused:
        Gate.read(path)
    assert str(path) in str(refused.value) and words in str(refused.value)


def test_a_gate_names_one_dataset() -> None:
    """Asked to decide on another than its file says, it does not choose by itself."""
    gate = Gate.parse({}, "t").on("300w", "pupils")

    assert (gate.primary.dataset, gate.primary.normaliser) == ("300w", "pupils")
    assert gate.on("") is gate and gate.on("300w") is gate
    with pytest.raises(ConfigError, match="decides on dataset '300w', asked for is 'wflw'"):
        gate.on("wflw")
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        Gate.read(Path("missing.toml"))
