"""Promotions whose process is killed, whose servers are away, or whose files were tampered with.

pytest tests/integration/test_promotion_faults.py
"""

import multiprocessing
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from adodn import registry, settings
from adodn.data.store import S3Store
from adodn.errors import CheckpointError, PromotionRefusedError, StorageError, TrackingError
from tests.fault_proxy import FaultProxy, answer, lost_answer, reset_at_once
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

_FORK = multiprocessing.get_context("fork")
"""What is imported already need not be imported twenty times."""


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
    assert [entry.action for entry in registry.audit(NAME) if entry.alias == "champion"] == [
        "promote",
        "promote",
        "rollback",
    ]


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
    with pytest.raises(TrackingError, match="ADODN_MLFLOW_USERNAME and ADODN_MLFLOW_PASSWORD"):
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
