"""Promotions on the real services: one of many wins, a killed one is made up for, and a refused one moves nothing.

pytest tests/integration/test_promotion.py
"""

import json
import multiprocessing
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException
from typer.testing import CliRunner

from adodn import models, publish, registry, settings
from adodn.cli import build
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data.store import S3Store
from adodn.errors import AdodnError, CheckpointError, PromotionRefusedError, StorageError, TrackingError
from adodn.publish import Measured
from adodn.registry.aliases import ledger_of
from tests.fault_proxy import FaultProxy, answer, lost_answer, reset_at_once
from tests.processes import TIMEOUT_S
from tests.registered import (
    NAME,
    PLAIN,
    a_report,
    client,
    fresh_registry,
    holder,
    promote,
    register,
)

pytestmark = pytest.mark.integration

PROCESSES, THREADS = 4, 5
_FORK = multiprocessing.get_context("fork")
"""What is imported already need not be imported twenty times."""


@pytest.fixture
def run_id(stack: object) -> Iterator[str]:
    """A training run, and a registry that holds no model yet."""
    with fresh_registry() as run:
        yield run


@pytest.fixture
def two(run_id: str) -> tuple[int, int]:
    """A champion, and a better challenger."""
    first = register(run_id, 0.10)
    promote("start")
    return first.version, register(run_id, 0.05).version


def actions() -> list[str]:
    return [entry.action for entry in ledger_of(NAME).entries()]


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
        register(run_id, 0.1)

    crew = [_FORK.Process(target=one) for _ in range(3)]
    for process in crew:
        process.start()
    for process in crew:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0

    entries = registry.audit(NAME)
    assert sorted(entry.to_version for entry in entries) == [1, 2, 3]
    assert holder("challenger") == entries[-1].to_version


def killed(work: Callable[[], object], *, writes: int) -> None:
    """Run work in a process that kills itself when it has written so often to the ledger or to MLflow's aliases."""

    def child() -> None:
        left = writes

        def counted(write: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **options: Any) -> Any:
                nonlocal left
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return write(*args, **options)

            return counting

        S3Store.put = counted(S3Store.put)  # type: ignore[method-assign]
        MlflowClient.set_registered_model_alias = counted(MlflowClient.set_registered_model_alias)
        work()
        os.kill(os.getpid(), signal.SIGKILL)

    process = _FORK.Process(target=child)
    process.start()
    process.join(TIMEOUT_S)
    assert process.exitcode == -signal.SIGKILL


def test_fault_54_a_killed_move_is_given_again(run_id: str, two: tuple[int, int]) -> None:
    """SIGKILL before, between and after the two writes of a move; the repetition ends where one run would have."""
    first, second = two
    killed(lambda: promote("gain"), writes=0)
    assert holder() == first and actions().count("promote") == 1

    killed(lambda: promote("gain"), writes=1)
    assert holder() == first and actions().count("promote") == 2  # told, and not yet shown
    assert promote("gain").outcome == "champion already"
    assert holder() == second and actions().count("promote") == 2

    for writes in (0, 1):
        killed(lambda: registry.rollback(NAME, why="bad"), writes=writes)
        assert holder() == second
    assert registry.rollback(NAME, why="bad").version == first
    assert holder() == first and actions().count("rollback") == 1

    killed(lambda: promote("gain"), writes=2)
    assert holder() == second and promote("gain").outcome == "champion already"

    third = register(run_id, 0.01).version
    registry.promote(registry.compare(NAME, PLAIN), why="w", by_hand=True)
    for writes in (0, 1):
        killed(lambda: registry.approve(NAME, why="seen"), writes=writes)
        assert holder() == second
    assert registry.approve(NAME, why="seen").version == third
    assert holder() == third and actions().count("approve") == 1


def test_fault_54_a_registration_killed_before_its_alias(run_id: str) -> None:
    """Whoever comes next makes the new version challenger."""
    killed(lambda: register(run_id, 0.1), writes=2)  # the errors of faces, the entry

    assert holder("challenger") is None
    assert [entry.action for entry in registry.audit(NAME)] == ["register"]
    assert holder("challenger") == 1


def test_a_slow_writer_does_not_leave_an_old_alias(two: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its entry and its alias another moves on; it sets what is old by then, looks again, and mends it."""
    first, second = two
    stock, overtaken = MlflowClient.set_registered_model_alias, []

    def slow(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if not overtaken:
            overtaken.append(version)
            assert registry.rollback(NAME, why="faster").version == first
            assert holder() == first
        stock(self, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", slow)
    promote()

    assert overtaken == [str(second)] and holder() == first
    assert [move[0] for move in moved()] == ["promote", "promote", "rollback"]


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


@pytest.fixture
def proxied(stack: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """MLflow as this process sees it, through a proxy."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with FaultProxy(settings.get().mlflow_tracking_uri) as proxy:
        monkeypatch.setenv("ADODN_MLFLOW_TRACKING_URI", proxy.url)
        settings.get.cache_clear()
        yield proxy
    monkeypatch.undo()
    settings.get.cache_clear()


def test_fault_50_a_server_away_at_start_middle_and_end(two: tuple[int, int], proxied: FaultProxy) -> None:
    """One error with the way out; what the ledger has is made up for when the server is back."""
    first, second = two
    proxied.spoil("GET", "registered-models/get", reset_at_once, times=9)
    with pytest.raises(TrackingError, match=r"could not be reached .*adodn up"):
        promote()
    assert actions().count("promote") == 1
    proxied.mend()

    proxied.spoil("POST", "registered-models/alias", answer(503, "Away"), times=9)
    with pytest.raises(TrackingError, match=r"could not be reached \(to promote version 2"):
        promote()
    proxied.mend()
    assert holder() == first
    assert promote().outcome == "champion already" and holder() == second

    proxied.spoil("POST", "registered-models/alias", lost_answer, times=9)
    with pytest.raises(TrackingError, match="could not be reached"):
        registry.rollback(NAME, why="w", to=first)
    proxied.mend()
    assert holder() == first and registry.rollback(NAME, why="w", to=first).version == first
    assert actions().count("promote") == 2 and actions().count("rollback") == 1


def test_fault_51_a_store_away(two: tuple[int, int], proxied: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither MLflow's artifacts nor the ledger's store away lets anybody through."""
    proxied.spoil("GET", "weights.safetensors", answer(500, "InternalError"), times=99)
    with pytest.raises(TrackingError, match="load 'models:/adodn-68/2'"):
        promote()
    proxied.mend()

    with FaultProxy(settings.get().s3_endpoint_url) as s3:
        monkeypatch.setenv("ADODN_S3_ENDPOINT_URL", s3.url)
        monkeypatch.setenv("ADODN_S3_ATTEMPTS", "1")
        settings.get.cache_clear()
        comparison = registry.compare(NAME, PLAIN)
        s3.spoil("PUT", "000004.json", answer(503, "SlowDown"), times=9)
        with pytest.raises(StorageError, match=r"registry/adodn-68/000004\.json"):
            registry.promote(comparison, why="w")
    monkeypatch.undo()
    settings.get.cache_clear()
    assert holder() == two[0] and actions().count("promote") == 1


def test_fault_56_a_wrong_name_or_password_is_said(stack: object, proxied: FaultProxy) -> None:
    """403 for a host that the server does not know, 401 for a password: each with what to set."""
    proxied.spoil("GET", "registered-models/get", answer(401, "Unauthorized"), times=9)
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        promote()


def test_fault_56_a_host_that_the_server_does_not_allow(stack: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real server refuses a name that is not its own; the message says how to allow it."""
    known = socket.getaddrinfo

    def resolved(host: Any, *args: Any, **options: Any) -> Any:
        return known("127.0.0.1" if host == "mlflow.example" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    address = settings.get().mlflow_tracking_uri.replace("127.0.0.1", "mlflow.example")
    monkeypatch.setenv("ADODN_MLFLOW_TRACKING_URI", address)
    settings.get.cache_clear()
    try:
        with pytest.raises(TrackingError, match=r"mlflow\.example.*Invalid Host header.*--allowed-hosts HOST:PORT"):
            promote()
    finally:
        monkeypatch.undo()
        settings.get.cache_clear()


class _Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_fault_57_tampered_files_are_refused_by_name(two: tuple[int, int], tmp_path: Path) -> None:
    """Changed weights, a pickle in their place, changed errors of faces: refused, nothing runs, the alias stays."""
    first, second = two
    store = S3Store.from_settings(settings.get())
    version = client().get_model_version(NAME, str(second))
    (weights,) = (
        entry.uri
        for entry in store.list("s3://mlflow")
        if entry.uri.endswith("weights.safetensors") and version.source.removeprefix("models:/") in entry.uri
    )
    kept = store.get(weights)
    bomb = pickle.dumps(_Bomb(tmp_path / "ran"))
    for content in (kept[:-1] + bytes([kept[-1] ^ 1]), bomb):
        store.put(weights, content)
        with pytest.raises(PromotionRefusedError, match=r"sha256 of \S*weights\.safetensors must be"):
            promote()
        assert holder() == first
    store.put(weights, kept)

    (errors,) = (value for tag, value in version.tags.items() if tag.startswith("errors."))
    address = f"{settings.get().registry_uri}/{NAME}/errors/{errors}.npz"
    data = store.get(address)
    store.put(address, bomb)
    with pytest.raises(PromotionRefusedError, match=rf"{errors}\.npz: sha256 must be"):
        promote()
    store.delete(address)
    with pytest.raises(PromotionRefusedError, match=rf"{errors}\.npz: .* missing"):
        promote()
    assert holder() == first and not (tmp_path / "ran").exists()

    store.put(address, bomb)
    registry.add_reports(f"models:/{NAME}/{second}", [a_report(0.05)])  # evaluated again, it is mended
    assert store.get(address) == data
    registry.promote(registry.compare(NAME, PLAIN), why="w", by_hand=True)
    store.put(weights, bomb)
    with pytest.raises(CheckpointError, match=r"sha256 of \S*weights\.safetensors"):
        registry.approve(NAME, why="after it was tampered with")
    assert holder() == first


def test_a_real_network_passes_the_default_gate(run_id: str) -> None:
    """Published it is champion, and the same once more is not; another answer than at registration is refused."""
    plain = ModelConfig(backbone="mobilenet_v2", input_px=32, geometry="none", occlusion="none", low_rank=False)
    config = ExperimentConfig(name="small", model=replace(plain, grid=1))
    measured = Measured(
        network=models.build(config.model).eval(), config=config, report=a_report(0.1), ced=b"png", sheet=b"jpeg"
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
