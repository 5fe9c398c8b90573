"""Prefect, MLflow and Optuna on a real PostgreSQL, which dies while a flow trains (fault 42), as do Prefect and MLflow.

pytest tests/chaos/test_postgres.py
"""

import json
import os
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from adodn import settings
from infra import deployments, processes
from infra import stack as local_stack
from infra.folder import StackFolder
from tests.conftest import enter_home
from tests.postgres_server import PostgresServer, postgres_server
from tests.prefect_client import flow_run, prefect, run_id
from tests.processes import TIMEOUT_S

SMOKE = {
    "recipe": "adodn_smoke",
    "options": {"num_train": 64, "num_val": 16, "num_common": 8, "num_challenging": 8, "size_px": 80},
    "workers": 1,
    "run_name": "on-postgres",
}
AWAY_S = 10.0


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server with a database for each service."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def stack(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.StackInfo]:
    """A stack of its own, on that server, with the repository's deployments."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        enter_home(patch, home)
        patch.setenv("ADODN_PREFECT_DATABASE_URL", postgres.url("prefect"))
        patch.setenv("ADODN_MLFLOW_DATABASE_URL", postgres.url("mlflow"))
        patch.setenv("ADODN_STUDY_URL", postgres.url("studies").replace("//", "+psycopg://", 1).replace(":+", "+", 1))
        info = local_stack.up(progress=lambda line: None)
        try:
            settings.get.cache_clear()
            patch.setenv("PREFECT_API_URL", settings.get().prefect_api_url)
            deployments.deploy()
            yield info
        finally:
            local_stack.down()
    settings.get.cache_clear()
    assert processes.marked(home) == []


def restart(name: str, home: object) -> None:
    """SIGKILL for a service; its supervisor starts it again."""
    folder = StackFolder(settings.home())
    dead = processes.marked(folder.home, name)
    pid = next(service.pid for service in local_stack.status() if service.name == name)
    assert pid
    os.kill(pid, 9)
    psutil.wait_procs(dead, timeout=TIMEOUT_S)
    wait_until(lambda: next(service.healthy for service in local_stack.status() if service.name == name))


def test_a_flow_outlives_its_database_and_its_server(stack: local_stack.StackInfo, postgres: PostgresServer) -> None:
    """Killed in mid-training: PostgreSQL for ten seconds, then Prefect's server. The flow completes and registers."""
    done = prefect("deployment", "run", "train-adodn", "--params", json.dumps(SMOKE))
    assert done.returncode == 0, done.stdout + done.stderr
    identity = run_id(done.stdout)
    wait_until(lambda: postgres.rows("mlflow", "SELECT 1 FROM runs WHERE status = 'RUNNING'") != [])

    postgres.kill()
    time.sleep(AWAY_S)
    postgres.start()
    restart("prefect", stack.home)
    wait_until(lambda: flow_run(identity)["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED"))

    assert flow_run(identity)["state"]["type"] == "COMPLETED", flow_run(identity)["state"]
