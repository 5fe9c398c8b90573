"""Prefect, MLflow and Optuna on a real PostgreSQL, which dies while a flow trains (fault 42), as does Prefect's server.

pytest tests/chaos/test_postgres.py
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator

import optuna
import psutil
import pytest

from adodn import settings
from adodn.settings import Settings
from infra import deployments, processes
from infra import stack as local_stack
from infra.databases import with_driver
from tests.conftest import enter_home
from tests.postgres_server import PostgresServer, postgres_server
from tests.prefect_client import flow_run, prefect, run_id
from tests.processes import TIMEOUT_S
from tune import storage

SMOKE = {
    "recipe": "adodn_smoke",
    "options": {"num_train": 64, "num_val": 16, "num_common": 8, "num_challenging": 8, "size_px": 80},
    "workers": 1,
    "run_name": "on-postgres",
}
AWAY_S = 8.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server with a database for each service."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def stack(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.StackInfo]:
    """A stack of its own on that server, with the repository's deployments."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        enter_home(patch, home)
        patch.setenv("ADODN_PREFECT_DATABASE_URL", postgres.url("prefect"))
        patch.setenv("ADODN_MLFLOW_DATABASE_URL", postgres.url("mlflow"))
        info = local_stack.up(progress=lambda line: None)
        try:
            settings.get.cache_clear()
            deployments.deploy()
            yield info
        finally:
            local_stack.down()
    settings.get.cache_clear()
    assert processes.marked(home) == []


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


def kill(name: str, stack: local_stack.StackInfo) -> None:
    """SIGKILL for a service; returns when its supervisor has started it again, and it is healthy."""

    def status() -> local_stack.ServiceStatus:
        return next(service for service in local_stack.status() if service.name == name)

    dead, pid = processes.marked(stack.home, name), status().pid
    assert pid
    os.kill(pid, 9)
    psutil.wait_procs(dead, timeout=TIMEOUT_S)
    wait_until(lambda: status().healthy)


def test_a_flow_outlives_its_database_and_its_server(stack: local_stack.StackInfo, postgres: PostgresServer) -> None:
    """Killed in mid-training: PostgreSQL for some seconds, then Prefect's server. The flow completes and registers."""
    done = prefect("deployment", "run", "train-adodn", "--params", json.dumps(SMOKE))
    assert done.returncode == 0, done.stdout + done.stderr
    identity = run_id(done.stdout)
    wait_until(lambda: postgres.rows("mlflow", "SELECT 1 FROM runs WHERE status = 'RUNNING'") != [])

    postgres.kill()
    time.sleep(AWAY_S)
    postgres.start()
    kill("prefect", stack)
    wait_until(lambda: flow_run(identity)["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED"))

    assert flow_run(identity)["state"]["type"] == "COMPLETED", flow_run(identity)["state"]
    assert postgres.rows("prefect", "SELECT state_type FROM flow_run WHERE parent_task_run_id IS NULL") == [
        ("COMPLETED",)
    ]
    assert postgres.rows("mlflow", "SELECT name, status FROM runs") == [("on-postgres", "FINISHED")]
    epochs = postgres.rows("mlflow", "SELECT step, count(*) FROM metrics WHERE key = 'train/loss' GROUP BY step")
    assert [count for _, count in epochs] == [1, 1, 1], "no epoch is lost or told twice"
    aliases = postgres.rows("mlflow", "SELECT alias, version FROM registered_model_aliases ORDER BY alias")
    assert aliases == [("challenger", 1), ("champion", 1)]


def test_nothing_is_left_to_sqlite_and_no_password_is_told(
    stack: local_stack.StackInfo, postgres: PostgresServer
) -> None:
    """Runs and models lie in PostgreSQL alone; its passwords stand in no command line and no log."""
    assert not (stack.home / "data" / "prefect" / "prefect.db").exists()
    assert not (stack.home / "data" / "mlflow" / "mlflow.db").exists()
    seen = [" ".join(process.cmdline()) for process in processes.marked(stack.home)]
    seen += [path.read_text(errors="replace") for path in (stack.home / "logs").iterdir()]
    assert seen and not [text for text in seen for secret in postgres.passwords.values() if secret in text]


def test_a_study_waits_for_its_database(postgres: PostgresServer) -> None:
    """Killed between a trial and the next: the study goes on when it is back, and both trials are there."""
    places = Settings(study_url=with_driver(postgres.url("studies"), "psycopg"), study_patience_s=TIMEOUT_S)
    study = optuna.create_study(storage=storage.open_storage(places), study_name="kept")
    study.tell(study.ask(), 0.5)

    postgres.kill()
    back = threading.Timer(AWAY_S, postgres.start)
    back.start()
    trial = storage.patiently(study.ask, places)
    storage.patiently(lambda: study.tell(trial, 0.25), places)
    back.join()

    assert [one.value for one in storage.load("kept", places).get_trials()] == [0.5, 0.25]
    assert postgres.rows("studies", "SELECT count(*) FROM trials WHERE state = 'COMPLETE'") == [(2,)]
