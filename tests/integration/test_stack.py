"""The local stack, run for real: what it opens, what it refuses, and what outlives a SIGKILL."""

import base64
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from adodn import settings
from adodn.errors import StackError
from infra import processes
from infra import stack as local_stack
from infra.config import StackPorts
from infra.services import SERVICES
from tests.conftest import enter_home

pytestmark = pytest.mark.integration

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
RECOVERY_S = 150.0
Stack = local_stack.StackInfo


def s3(**changed: str) -> Any:
    config = settings.get()
    keys = {
        "aws_access_key_id": config.s3_access_key,
        "aws_secret_access_key": config.s3_secret_key.get_secret_value(),
    }
    return boto3.client("s3", endpoint_url=config.s3_endpoint_url, region_name=config.s3_region, **{**keys, **changed})


def http(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def prefect(path: str, body: Any = None) -> Any:
    """A request to Prefect as its own clients make it: signed in, and with a token where something may change."""
    headers = basic(settings.get().prefect_auth_string.get_secret_value())
    base = settings.get().prefect_api_url
    return http(base + path, body, **headers, **({} if body is None else csrf_token()))


def csrf_token() -> dict[str, str]:
    headers = basic(settings.get().prefect_auth_string.get_secret_value())
    token = http(f"{settings.get().prefect_api_url}/csrf-token?client=tests", **headers)["token"]
    return {"Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": token}


def mlflow(path: str, body: Any = None) -> Any:
    places = settings.get()
    signed_in = basic(f"{places.mlflow_username}:{places.mlflow_password.get_secret_value()}")
    return http(f"{places.mlflow_tracking_uri}/api/2.0/mlflow/{path}", body, **signed_in)


def basic(user_and_password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user_and_password.encode()).decode()}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RECOVERY_S
    while not condition():
        assert time.monotonic() < deadline, "not within the time that recovery may take"
        time.sleep(0.5)


def status_of(name: str) -> local_stack.ServiceStatus:
    return next(service for service in local_stack.status() if service.name == name)


@pytest.fixture(scope="module")
def stored(stack: Stack) -> Callable[[], None]:
    """Stores one thing in each service that keeps things; the answer checks that all are still there."""
    config = settings.get()
    s3().put_object(Bucket=config.bucket, Key="tests/kept", Body=b"kept")
    mlflow("experiments/create", {"name": "kept"})
    prefect("/variables/", {"name": "kept", "value": "kept"})

    def check() -> None:
        assert s3().get_object(Bucket=config.bucket, Key="tests/kept")["Body"].read() == b"kept"
        assert mlflow("experiments/get-by-name?experiment_name=kept")["experiment"]["name"] == "kept"
        assert prefect("/variables/name/kept")["value"] == "kept"

    return check


def test_every_service_is_healthy(stack: Stack) -> None:
    """After `up` every service answers, and has memory and a process."""
    for service in local_stack.status():
        assert service.healthy, service
        assert service.state in {"starting", "running"}, service
        assert service.pid and service.rss_mb > 1, service


def test_up_twice_changes_nothing(stack: Stack) -> None:
    """`up` on a stack that is up starts nothing."""
    before = [service.pid for service in local_stack.status()]
    assert local_stack.up(progress=lambda line: None).already_running
    assert [service.pid for service in local_stack.status()] == before


def test_secrets_are_private(stack: Stack) -> None:
    """The secrets stand in files that only their owner reads, and in no command line and no log."""
    assert stat.S_IMODE((stack.home / "stack.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((stack.home / "data").stat().st_mode) == 0o700
    hidden = secrets_of(stack.home)
    assert len(hidden) >= 5
    assert all(len(secret) == 64 for secret in hidden)
    seen = [" ".join(process.cmdline()) for process in processes.marked(stack.home)]
    seen += [path.read_text(errors="replace") for path in (stack.home / "logs").iterdir()]
    assert not [text for text in seen for secret in hidden if secret in text]


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    """No process of the stack accepts a connection from another machine; the ports are those that were asked for."""
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes.marked(stack.home)
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    assert {ip for ip, _ in listening} <= LOOPBACK
    assert {port for port, _ in stack.ports.opened()} <= {port for _, port in listening}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aws_access_key_id": "nobody"}, "InvalidAccessKeyId"),
        ({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
    ],
)
def test_wrong_credentials_are_refused(stack: Stack, changed: dict[str, str], code: str) -> None:
    """S3 lets in nobody but the holder of the generated keys."""
    with pytest.raises(ClientError) as caught:
        s3(**changed).list_buckets()
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer " + "0" * 64}])
def test_ray_wants_its_token(stack: Stack, headers: dict[str, str]) -> None:
    """Ray's job server refuses who has no token, or a wrong one."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        http(stack.ray_url + "/api/jobs/", **headers)
    assert caught.value.code in {401, 403}


@pytest.mark.parametrize("headers", [{}, basic("adodn:wrong"), basic("adodn:")])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/flow_runs/count", {}), ("/deployments/filter", {}), ("/csrf-token?client=x", None), ("/admin/version", None)],
)
def test_prefect_wants_its_password(stack: Stack, path: str, body: Any, headers: dict[str, str]) -> None:
    """Prefect tells and does nothing for who has no password, or a wrong one, though he has a token against forgery."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        http(settings.get().prefect_api_url + path, body, **csrf_token(), **headers)
    assert caught.value.code == 401


def test_prefect_wants_a_token_against_forgery(stack: Stack) -> None:
    """A page that a signed-in browser visits cannot make it change anything; nor may another origin read answers."""
    url = settings.get().prefect_api_url + "/variables/"
    signed_in = basic(settings.get().prefect_auth_string.get_secret_value())
    with pytest.raises(urllib.error.HTTPError) as caught:
        http(url, {"name": "forged", "value": "x"}, **signed_in)
    assert caught.value.code == 403
    asked = urllib.request.Request(
        settings.get().prefect_api_url + "/health", headers={"Origin": "http://evil.example"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") not in {"*", "http://evil.example"}


@pytest.mark.parametrize("headers", [{}, basic("adodn:wrong"), basic("admin:password1234")])
@pytest.mark.parametrize(
    "path", ["api/2.0/mlflow/experiments/search?max_results=1", "api/2.0/mlflow-artifacts/artifacts?path=0"]
)
def test_mlflow_wants_its_password(stack: Stack, path: str, headers: dict[str, str]) -> None:
    """Neither runs nor artifacts are shown to who has no password, or a wrong one."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        http(f"{settings.get().mlflow_tracking_uri}/{path}", **headers)
    assert caught.value.code == 401


def test_bucket_typo_creates_nothing(stack: Stack) -> None:
    """Writing to a bucket that is not there fails, as on AWS."""
    with pytest.raises(ClientError) as caught:
        s3().put_object(Bucket="adodnn", Key="tests/lost", Body=b"")
    assert caught.value.response["Error"]["Code"] == "NoSuchBucket"
    assert {bucket["Name"] for bucket in s3().list_buckets()["Buckets"]} == {"adodn", "mlflow"}


def test_prefect_takes_what_its_own_client_sends(stack: Stack) -> None:
    """A null limit means the server's default; `prefect deploy` relies on it, and FastAPI from 0.151 on refuses it."""
    found = prefect("/work_pools/local/workers/filter", {"limit": None, "offset": None})
    assert [worker["name"] for worker in found] == ["local"]


def test_cli_speaks_json(stack: Stack) -> None:
    """`adodn status --json` prints the state of every service and exits 0 when all are healthy."""
    done = cli("status", "--json")
    assert done.returncode == 0, done.stderr
    assert [service["name"] for service in json.loads(done.stdout)] == list(SERVICES)


def test_cli_error_is_one_message(stack: Stack) -> None:
    """A mistake is one line on stderr and exit code 1, without a traceback."""
    done = cli("logs", "s4")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: there is no service 's4'; choose one of s3, prefect, mlflow, ray, worker, supervisor\n"
    )


def test_logs_end_with_the_newest_line(stack: Stack) -> None:
    """`logs -n 1` is the last line of the file."""
    written = (stack.home / "logs" / "supervisor.log").read_text().splitlines()
    assert list(local_stack.logs("supervisor", lines=1)) == written[-1:]


@pytest.mark.parametrize("name", list(SERVICES))
def test_killed_service_comes_back(stack: Stack, stored: Callable[[], None], name: str) -> None:
    """A service that gets SIGKILL is healthy again without help, as new processes, and nothing stored is lost."""
    before = set(processes.marked(stack.home, name))
    pid = status_of(name).pid
    assert pid
    os.kill(pid, 9)
    wait_for(lambda: not before & set(processes.marked(stack.home, name)) and status_of(name).healthy)
    stored()


def test_up_copes_with_a_killed_supervisor(stack: Stack, stored: Callable[[], None]) -> None:
    """When the supervisor gets SIGKILL, `up` ends the orphans, starts all again, and nothing stored is lost."""
    orphans = {process.pid for process in processes.marked(stack.home)}
    (supervisor,) = processes.marked(stack.home, "supervisor")
    supervisor.kill()
    wait_for(lambda: not supervisor.is_running())
    # Some of them die by themselves: nobody reads what they print.
    assert {service.state for service in local_stack.status()} in ({"unsupervised"}, {"unsupervised", "stopped"})
    assert not local_stack.up(progress=lambda line: None).already_running
    assert not orphans & {process.pid for process in processes.marked(stack.home)}
    stored()


@pytest.mark.parametrize("twin", [0, 10_000])
def test_taken_port_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: int) -> None:
    """A taken port is refused before anything starts, with its number, its service, and the variable to change."""
    enter_home(monkeypatch, tmp_path)
    port = StackPorts().s3_filer + twin
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StackError) as caught:
        local_stack.up(progress=lambda line: None)
    for part in (f"port {port}", "'s3'", "ADODN_PORT_S3_FILER"):
        assert part in str(caught.value)
    assert processes.marked(tmp_path) == []
    assert not (tmp_path / "run").is_symlink()


def test_port_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two services cannot be given one port, nor a port that is the twin of another."""
    enter_home(monkeypatch, tmp_path)
    monkeypatch.setenv("ADODN_PORT_MLFLOW", str(StackPorts().s3 + 10_000))
    with pytest.raises(StackError, match="is given twice"):
        local_stack.up(progress=lambda line: None)


def test_service_that_keeps_dying_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that dies at every start ends `up` with its name and the end of its log; all else is stopped."""
    enter_home(monkeypatch, tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "s3").write_text("a file where a folder must be")
    with pytest.raises(StackError, match="the service 's3' keeps dying") as caught:
        local_stack.up(progress=lambda line: None)
    assert "FileExistsError" in str(caught.value)
    assert processes.marked(tmp_path) == []
    assert not (tmp_path / "run").exists()


def test_interrupted_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during `up` stops what was started, and keeps what was stored."""
    enter_home(monkeypatch, tmp_path)
    up = subprocess.Popen(
        [sys.executable, "-m", "adodn.cli", "up"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A test run in the background is born deaf to Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: bool(processes.marked(tmp_path, "prefect")))
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=120)
    assert up.returncode != 0
    assert processes.marked(tmp_path) == []
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "stack.env").exists()


def test_down_without_a_stack_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` where nothing runs does nothing and says so."""
    enter_home(monkeypatch, tmp_path / "none")
    assert local_stack.down() is False
    assert {service.state for service in local_stack.status()} == {"stopped"}


def secrets_of(home: Path) -> list[str]:
    """Every secret of a stack, as `stack.env` names them."""
    lines = (line.partition("=") for line in (home / "stack.env").read_text().splitlines())
    known = {name: value.rpartition(":")[2] for name, _, value in lines}
    return [
        value
        for name, value in known.items()
        if name.endswith(("SECRET_KEY", "PASSWORD", "TOKEN", "STRING", "SESSION_KEY"))
    ]


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "adodn.cli", *arguments], capture_output=True, text=True, timeout=120)
