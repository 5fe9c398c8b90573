"""Promotions on the real services: one of many wins, and a refused one moves nothing; all is on record.

What is killed, away or tampered with is in `test_promotion_faults.py`.

pytest tests/integration/test_promotion.py
"""

import json
import multiprocessing
import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import RestException
from typer.testing import CliRunner

from adodn import models, publish, registry, settings
from adodn.cli import build
from adodn.config import ExperimentConfig, ModelConfig
from adodn.errors import AdodnError, PromotionRefusedError, TrackingError
from adodn.publish import Measured
from tests.processes import TIMEOUT_S
from tests.registered import (
    NAME,
    PLAIN,
    a_report,
    actions,
    client,
    holder,
    promote,
    register,
)

pytestmark = pytest.mark.integration

PROCESSES, THREADS = 4, 5
_FORK = multiprocessing.get_context("fork")
"""What is imported already need not be imported twenty times."""


def moved() -> list[tuple[str, int | None, int, str]]:
    """The champion's moves, by the audit."""
    return [
        (entry.action, entry.from_version, entry.to_version, entry.who)
        for entry in registry.audit(NAME)
        if entry.alias == "champion"
    ]


def test_every_move_is_on_record_and_can_be_undone(run_id: str, two: tuple[int, int]) -> None:
    """Who, when, from, to, why and what the gate saw; rollback walks back through champions, or to one by number."""
    first, second = two
    decision = promote("gain", "bob")
    assert decision.outcome == "promoted" and "better: rendered/all nme" in decision.reason
    assert promote("again").outcome == "champion already"

    assert registry.rollback(NAME, why="fails at night", who="eve").version == first
    assert holder() == first
    with pytest.raises(PromotionRefusedError, match="is the first champion"):
        registry.rollback(NAME, why="further")
    assert registry.rollback(NAME, why="better after all", to=second, who="eve").version == second
    third = register(run_id, 0.2).version
    with pytest.raises(PromotionRefusedError, match=rf"version {third} of .* never was champion, these were: 1, 2"):
        registry.rollback(NAME, why="a short cut past the gate", to=third)

    assert holder() == second
    assert moved() == [
        ("promote", None, first, "ann"),
        ("promote", first, second, "bob"),
        ("rollback", second, first, "eve"),
        ("rollback", first, second, "eve"),
    ]
    gain = next(entry for entry in registry.audit(NAME) if entry.who == "bob")
    assert gain.why.startswith("gain (better: ") and gain.when.endswith("+00:00")
    assert [(row.rule, row.passed) for row in gain.gate] == [("primary", True)]
    assert gain.gate[0].value == pytest.approx(0.05)


def test_fault_53_what_the_gate_refuses_moves_nothing(run_id: str) -> None:
    """No model, no challenger, worse, equal, elsewhere measured, never measured: the alias stays, the audit has why."""
    with pytest.raises(TrackingError, match="adodn-68"):
        promote()
    first = register(run_id, 0.10)
    with pytest.raises(PromotionRefusedError, match="no champion to roll back"):
        registry.rollback(NAME, why="w")
    promote()

    for error, digest, words in (
        (0.11, "a", "not better"),
        (0.10, "a", "not better"),
        (0.01, "b", "one dataset_digest"),
    ):
        register(run_id, error, digest * 64)
        with pytest.raises(PromotionRefusedError, match=words):
            promote()
        assert holder() == first.version
    registry.add_reports(f"models:/{NAME}@champion", [a_report(0.02, "b" * 64)])
    masked = PLAIN.model_copy(update={"bounds": (registry.Gate.parse(MASKED, "test").bounds)})
    with pytest.raises(PromotionRefusedError, match="has no result 'masked/all nme@outer_eye_corners'"):
        promote(gate=masked)
    assert holder() == first.version
    assert actions().count("refuse") == 4 and actions().count("promote") == 1

    assert promote("now on the same").outcome == "promoted"


MASKED = {"bounds": [{"result": "masked/all nme@outer_eye_corners", "at_most": 0.1}]}


def test_fault_52_of_twenty_promotions_one_wins(two: tuple[int, int]) -> None:
    """All have passed the gate; one moves the alias, nineteen are told who did, and the audit shows all twenty."""
    comparison = registry.compare(NAME, PLAIN)
    together, answers = _FORK.Barrier(PROCESSES * THREADS), _FORK.Queue()

    def one(who: str) -> None:
        together.wait(TIMEOUT_S)
        try:
            answers.put((who, registry.promote(comparison, why="race", who=who).outcome))
        except AdodnError as refused:
            answers.put((who, str(refused)))

    def several(process: int) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, [f"{process}/{thread}" for thread in range(THREADS)]))

    crew = [_FORK.Process(target=several, args=(process,)) for process in range(PROCESSES)]
    for process in crew:
        process.start()
    said = dict(answers.get(timeout=TIMEOUT_S) for _ in range(PROCESSES * THREADS))
    for process in crew:
        process.join(TIMEOUT_S)

    (winner,) = (who for who, words in said.items() if words == "promoted")
    assert all(f"came first: entry 4: {winner} promoted version 2" in said[who] for who in said if who != winner)
    assert holder() == two[1]
    race = [entry for entry in registry.audit(NAME) if entry.why.startswith("race")]
    assert [(entry.action, entry.who) for entry in race[:1]] == [("promote", winner)]
    assert {entry.who for entry in race[1:]} == set(said) - {winner}
    assert all(entry.action == "refuse" for entry in race[1:]) and len(race) == PROCESSES * THREADS


def test_fault_52_registrations_at_once_all_get_a_version(run_id: str) -> None:
    """Processes that make the registered model at the same moment; the last in the ledger is challenger."""
    together = _FORK.Barrier(3)

    def one() -> None:
        together.wait(TIMEOUT_S)
        try:
            register(run_id, 0.1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        # At once: Python's own end of a forked process may stumble over threads that it does not have.
        os._exit(0)

    crew = [_FORK.Process(target=one) for _ in range(3)]
    for process in crew:
        process.start()
    for process in crew:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0

    entries = registry.audit(NAME)
    assert sorted(entry.to_version for entry in entries) == [1, 2, 3]
    assert holder("challenger") == entries[-1].to_version


def test_an_alias_moved_by_hand_is_put_back(two: tuple[int, int]) -> None:
    """Past the gate there is no way: the next command shows what the ledger says."""
    first, second = two
    client().set_registered_model_alias(NAME, "champion", str(second))
    client().set_registered_model_alias(NAME, "theirs", str(second))

    registry.audit(NAME)

    assert holder() == first and holder("theirs") == second


def test_fault_55_a_deleted_version_is_not_gone_back_to(run_id: str, two: tuple[int, int]) -> None:
    """Rollback is refused and says which there are; a deleted champion leaves its place to be filled anew."""
    first, second = two
    promote()
    client().delete_model_version(NAME, str(first))

    for to in (None, first):
        with pytest.raises(PromotionRefusedError, match=rf"version {first} of 'adodn-68' was deleted .* so far: 1, 2"):
            registry.rollback(NAME, why="w", to=to)
        assert holder() == second

    client().delete_model_version(NAME, str(second))
    third = register(run_id, 0.5).version
    assert promote().reason.startswith("the first champion") and holder() == third


def test_a_number_that_came_again_is_another_model(run_id: str) -> None:
    """After a registered model was deleted, version 1 is not the champion that version 1 was."""
    register(run_id, 0.1)
    promote()
    client().delete_registered_model(NAME)
    register(run_id, 0.9)

    registry.audit(NAME)

    assert holder() is None and holder("challenger") == 1


def test_approval_by_hand(run_id: str, two: tuple[int, int]) -> None:
    """Who passes waits; a person's yes moves, a no does not, and an answer to nobody is refused."""
    first, second = two
    by_hand = PLAIN.model_copy(update={"by_hand": True})
    with pytest.raises(PromotionRefusedError, match="no version of 'adodn-68' awaits approval"):
        registry.approve(NAME, why="w")

    assert promote(gate=by_hand).outcome == "awaiting approval" and holder() == first
    assert registry.reject(NAME, why="not on Fridays", who="bob") == second and holder() == first
    with pytest.raises(PromotionRefusedError, match="awaits approval"):
        registry.reject(NAME, why="twice")

    promote(gate=by_hand)
    third = register(run_id, 0.01).version  # a new challenger does not take the word away
    assert registry.approve(NAME, why="seen", who="bob").version == second
    assert (holder(), holder("challenger")) == (second, third)
    approval = registry.audit(NAME)[-1]
    assert (approval.action, approval.from_version, approval.who) == ("approve", first, "bob")
    assert approval.gate[0].passed and approval.gate[0].rule == "primary"

    promote(gate=by_hand)
    registry.rollback(NAME, why="the champion is another now")
    with pytest.raises(PromotionRefusedError, match="awaits approval"):
        registry.approve(NAME, why="too late")


def test_a_real_network_passes_the_default_gate(run_id: str) -> None:
    """Published it is champion, and the same once more is not; another answer than at registration is refused."""
    plain = ModelConfig(backbone="mobilenet_v2", input_px=32, geometry="none", occlusion="none", low_rank=False)
    config = ExperimentConfig(name="small", model=replace(plain, grid=1))
    measured = Measured(
        network=models.build(config.model).eval(),
        config=config,
        report=a_report(0.1),
        ced=b"png",
        sheet=b"jpeg",
        crops={},
    )
    first, again = (publish.publish(measured, run_id, settings.get(), why="trained") for _ in range(2))
    assert first.is_champion and first.reason.startswith("the first champion, rendered/all nme@outer_eye_corners")
    assert not again.is_champion and "version 2 of 'adodn-68' stays challenger: not better" in again.reason

    version = registry.register(measured.network, config, [a_report(0.05)], run_id)
    gate = registry.Gate.default().model_copy(update={"size": registry.Gate.parse(SIZE, "t").size})

    verdict = registry.compare(NAME, gate).verdict
    assert verdict and verdict.passed
    assert {row.rule: row.value for row in verdict.rows}["size"] == pytest.approx(2.57e6, rel=0.2)
    assert {row.rule: row.value for row in verdict.rows}["smoke"] == pytest.approx(0, abs=1e-6)

    answers = json.loads(version.tags["smoke_answer"])
    answers[67][1] += 0.01
    client().set_model_version_tag(NAME, str(version.version), "smoke_answer", json.dumps(answers))
    with pytest.raises(PromotionRefusedError, match=r"answers within 1\.0e-02 of the crop as at registration, at most"):
        promote(gate=gate)
    client().set_model_version_tag(NAME, str(version.version), "smoke_answer", json.dumps(answers[:5]))
    with pytest.raises(PromotionRefusedError, match="answers within inf"):
        promote(gate=gate)


SIZE = {"size": {"max_parameters": 10_000_000}}


def test_moves_are_commands(run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`compare`, `promote`, `approve`, `reject`, `rollback` and `audit`, in words and as JSON."""
    monkeypatch.setenv("COLUMNS", "300")
    gate = tmp_path / "gate.toml"
    gate.write_text("[subsets]\nmax_worse = 0.05\n")

    def run(*words: str) -> str:
        done = CliRunner().invoke(build("registry"), words, catch_exceptions=False)
        return str(done.stdout)

    by_gate = ("--gate", str(gate))
    first = register(run_id, 0.05)
    assert "may take the place, with no champion to compare with" in run("compare", *by_gate)
    assert "version 1 of adodn-68: promoted (entry 2): the first champion" in run("promote", "--why", "w", *by_gate)
    assert run("compare", *by_gate) == f"{first.uri} is champion already; nothing challenges it\n"
    register(run_id, 0.06)
    assert "may not take the place, against champion 1" in run("compare", *by_gate)
    told = json.loads(run("compare", "--json", *by_gate))
    assert [row["rule"] for row in told["rows"]] == ["primary", "subset easy", "subset hard"]
    assert (told["champion"], told["challenger"], told["passed"]) == (1, 2, False)
    with pytest.raises(PromotionRefusedError, match="version 2 of 'adodn-68' stays challenger: not better"):
        run("promote", "--why", "w", *by_gate)
    register(run_id, 0.04)
    assert "awaiting approval" in run("promote", "--why", "w", "--by-hand", *by_gate)
    assert run("reject", "--why", "w") == "version 3 of adodn-68 stays challenger\n"
    assert json.loads(run("promote", "--why", "w", "--by-hand", "--json", *by_gate))["outcome"] == "awaiting approval"
    assert run("approve", "--why", "w") == "models:/adodn-68/3 is champion now\n"
    assert run("rollback", "--why", "test") == f"{first.uri} is champion again\n"
    table = run("audit")
    assert all(word in table for word in ("propose", "approve", "reject", "rollback", "refuse"))
    entries = json.loads(run("audit", "--json"))["entries"]
    assert [entry["number"] for entry in entries] == list(range(1, len(entries) + 1))
    assert holder() == 1


def test_a_model_that_is_on_record_is_measured_further(run_id: str) -> None:
    """What `adodn evaluate models:/… --register` keeps, the gate sees."""
    version = register(run_id, 0.1)
    registry.add_reports(version.uri, [a_report(0.2, "c" * 64, "masked")])

    verdict = registry.compare(NAME, registry.Gate.parse(MASKED, "t").on("rendered")).verdict

    assert verdict and not verdict.passed and "masked/all nme@outer_eye_corners 20.000 %, at most" in verdict.reason
    with pytest.raises(RestException):
        client().get_model_version(NAME, "2")
