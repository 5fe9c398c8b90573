"""Prefect's server and worker, and MLflow, run as the cluster's manifests say, on a real PostgreSQL.

pytest tests/chaos/test_cluster_services.py
"""

import base64
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tenacity
import yaml

from infra import cluster_secrets
from infra.deployments import ROOT
from tests.container_commands import environment_of, running, swapped
from tests.manifests import FOLDER, pod
from tests.ports import free_port
from tests.postgres_server import PostgresServer, postgres_server
from tests.processes import TIMEOUT_S

MADE = cluster_secrets.fresh()
PREFECT_USER = MADE["prefect-auth"]["auth_string"]
MLFLOW_USER = ":".join(MADE["mlflow-client"].values())
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Services:
    """Where they are reached, and their database."""

    prefect: str
    mlflow: str
    worker: str
    postgres: PostgresServer
    in_the_worker: dict[str, str]
    """The environment of what is run in the worker's pod."""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All three, begun on empty databases; their own addresses and folders are this machine's."""
    prefect, mlflow, health = free_port(), free_port(), free_port()
    folder = tmp_path_factory.mktemp("cluster")
    passwords = {name: MADE["postgres"][f"{name}_password"] for name in ("prefect", "mlflow", "studies")}
    with postgres_server(**passwords) as postgres, ExitStack() as all_of_them:
        swaps = {
            "@postgres:5432": f"@127.0.0.1:{postgres.port}",
            "http://prefect:4200": f"http://127.0.0.1:{prefect}",
            "/etc/mlflow": str(folder),
            "/home/adodn/state": str(folder),
            "0.0.0.0": "127.0.0.1",
        }
        (folder / "sign-in.ini").write_text(swapped((FOLDER / "sign-in.ini").read_text(), swaps))

        def begin(name: str, port: str, here: int, **more: str) -> None:
            (container,) = pod(name).containers()
            container["command"] = [str(here) if word == port else word for word in container["command"]]
            (folder / name).mkdir()
            all_of_them.enter_context(running(container, MADE, swaps, folder / name, **more))

        (worker,) = pod("prefect-worker").containers()
        urls = [f"http://127.0.0.1:{port}" for port in (prefect, mlflow, health)]
        found = Services(*urls, postgres, environment_of(worker, MADE, swaps))
        begin("prefect", "4200", prefect)
        begin("mlflow", "5500", mlflow)
        wait_for(f"{found.prefect}/api/ready")
        where = {"PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1", "PREFECT_WORKER_WEBSERVER_PORT": str(health)}
        begin("prefect-worker", "", 0, **where)
        wait_for(f"{found.mlflow}/health")
        wait_for(f"{found.worker}/health")
        yield found


@tenacity.retry(
    wait=tenacity.wait_fixed(0.5),
    stop=tenacity.stop_after_delay(TIMEOUT_S),
    retry=tenacity.retry_if_exception_type(OSError),
    reraise=True,
)
def wait_for(url: str) -> None:
    with _OPENER.open(url, timeout=10) as answer:
        assert answer.status == 200


def ask(url: str, user: str = "", body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and answer of a request, as a client inside the cluster would send it."""
    if user:
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with _OPENER.open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None


def test_prefect_keeps_everything_in_postgresql_and_asks_for_a_password(services: Services) -> None:
    """Its probes need none; whatever changes something needs a token against forged requests as well."""
    api = f"{services.prefect}/api"

    assert ask(f"{api}/ready")[0] == ask(f"{api}/health")[0] == 200
    assert ask(f"{api}/admin/version")[0] == ask(f"{api}/admin/version", "adodn:wrong")[0] == 401
    assert ask(f"{api}/admin/version", PREFECT_USER)[0] == 200
    variable = {"name": "kept", "value": "kept"}
    assert ask(f"{api}/variables/", PREFECT_USER, variable)[0] == 403, "no token"
    status, given = ask(f"{api}/csrf-token?client=test", PREFECT_USER)
    assert status == 200
    token = {"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": given["token"]}
    assert ask(f"{api}/variables/", PREFECT_USER, variable, **token)[0] == 201
    assert services.postgres.rows("prefect", "SELECT name FROM variable") == [("kept",)]


def test_the_worker_reports_to_the_server(services: Services) -> None:
    """It made its pool, and knows the password; its probe answers."""
    pool = services.postgres.rows("prefect", "SELECT name, type FROM work_pool")
    assert pool == [("local", "process")]
    assert services.postgres.rows("prefect", "SELECT name FROM worker") == [("cluster",)]


def test_deployments_are_made_from_within_the_workers_pod(services: Services) -> None:
    """By the README's command, in the pod's folder and with its variables: each of prefect.yaml, and the automation."""
    wanted = {one["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    command = [sys.executable, "-m", "infra.deployments"]

    done = subprocess.run(command, env=services.in_the_worker, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert {name for (name,) in services.postgres.rows("prefect", "SELECT name FROM deployment")} == wanted
    automations = services.postgres.rows("prefect", "SELECT name FROM automation")
    assert automations == [("adodn: flow runs that fell silent have crashed",)]


def test_mlflow_keeps_everything_in_postgresql_and_asks_for_a_password(services: Services) -> None:
    """Runs and users alike; it knows itself by the names that pods and browsers use, and by no other."""
    url = f"{services.mlflow}/api/2.0/mlflow/experiments"
    here = {"Host": "mlflow:5500"}

    assert ask(f"{url}/get?experiment_id=0", **here)[0] == 401
    assert ask(f"{url}/get?experiment_id=0", "adodn:wrong", **here)[0] == 401
    assert ask(f"{url}/get?experiment_id=0", MLFLOW_USER, Host="evil.example.com")[0] == 403
    assert ask(f"{url}/create", MLFLOW_USER, {"name": "kept"}, **here)[0] == 200
    assert ("kept",) in services.postgres.rows("mlflow", "SELECT name FROM experiments")
    assert services.postgres.rows("mlflow", "SELECT username FROM users") == [(MADE["mlflow-client"]["USERNAME"],)]


def test_both_come_back_with_their_database(services: Services) -> None:
    """While it is away they answer with what their clients try again by; afterwards as before, without a restart."""
    prefect = f"{services.prefect}/api/work_pools/local"
    mlflow = f"{services.mlflow}/api/2.0/mlflow/experiments/get?experiment_id=0"
    here = {"Host": "mlflow:5500"}

    services.postgres.kill()
    away = ask(prefect, PREFECT_USER)[0], ask(mlflow, MLFLOW_USER, **here)[0]
    services.postgres.start()

    assert away == (int(services.in_the_worker["PREFECT_CLIENT_RETRY_EXTRA_CODES"]), 503)
    assert ask(prefect, PREFECT_USER)[0] == ask(mlflow, MLFLOW_USER, **here)[0] == 200


def test_what_runs_in_the_worker_waits_for_prefects_database(services: Services) -> None:
    """A command that falls into the gap comes through; without the worker's variable it is an error at once."""
    command = [str(Path(sys.executable).parent / "prefect"), "work-pool", "inspect", "local"]
    impatient = {name: v for name, v in services.in_the_worker.items() if name != "PREFECT_CLIENT_RETRY_EXTRA_CODES"}

    services.postgres.kill()
    first = subprocess.run(command, env=impatient, cwd=ROOT, capture_output=True, text=True)
    back = threading.Timer(5, services.postgres.start)
    back.start()
    second = subprocess.run(command, env=services.in_the_worker, cwd=ROOT, capture_output=True, text=True)
    back.join()

    assert first.returncode != 0 and "500" in first.stdout + first.stderr
    assert second.returncode == 0 and "process" in second.stdout, second.stdout + second.stderr
