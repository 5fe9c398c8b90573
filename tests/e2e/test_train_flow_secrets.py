"""Secrets are in no output: after real work, everything that the stack and its jobs left is searched for them.

pytest tests/e2e/test_train_flow_secrets.py

It stands behind `test_train_flow.py` and searches what that left; alone, it trains for itself first.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from ray.job_submission import JobSubmissionClient

from adodn import settings
from adodn.data.store import S3Store
from infra import deployments, processes
from infra.config import StackConfig
from infra.folder import StackFolder
from tests.e2e.test_train_flow import SMOKE
from tests.prefect_client import prefect

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

PRIVATE = ("s3-identities.json", "s3-key.pem", "s3-certificate.pem", "stack.env")
"""Files that hold secrets on purpose; that only their owner reads them, other tests check."""


@pytest.fixture(scope="module")
def home(deployed: None) -> Path:
    """Of a stack on which a model was trained, evaluated and registered by its deployment."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    if not client.search_registered_models("name = 'adodn-68'"):
        done = prefect("deployment", "run", "train-adodn", "--watch", "--params", json.dumps(SMOKE))
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return settings.home()


@pytest.fixture(scope="module")
def secrets(home: Path) -> dict[bytes, str]:
    """Every secret as it could be written, and its name."""
    credentials = StackConfig.recorded(StackFolder(home)).credentials
    known = {f"secret key of {role}": pair.secret_key for role, pair in credentials.s3.items()}
    known |= {
        "Prefect's password": credentials.prefect_auth_string.partition(":")[2],
        "MLflow's password": credentials.mlflow_password,
        "MLflow's session key": credentials.mlflow_session_key,
        "Ray's token": credentials.ray_auth_token,
    }
    signed_in = {
        "Prefect's header": credentials.prefect_auth_string,
        "MLflow's header": f"adodn:{credentials.mlflow_password}",
    }
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in signed_in.items()}
    assert len(known) == 9 and all(len(secret) == 64 for secret in known.values())
    return {secret.encode(): name for name, secret in (known | encoded).items()}


def leaks(places: Iterator[tuple[str, bytes]], secrets: dict[bytes, str]) -> tuple[int, list[str]]:
    """How many places were searched, and which of them hold which secret."""
    count, found = 0, []
    for place, content in places:
        count += 1
        found += [f"{name} in {place}" for secret, name in secrets.items() if secret in content]
    return count, found


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Of a folder and all below it; a socket or a file that goes meanwhile is none."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name not in PRIVATE:
            yield str(path), path.read_bytes()


def test_the_search_finds_a_planted_secret(secrets: dict[bytes, str], tmp_path: Path) -> None:
    """In the midst of other bytes, in a folder below."""
    (tmp_path / "below").mkdir()
    secret, name = next(iter(secrets.items()))
    (tmp_path / "below" / "log").write_bytes(b"\0before " + secret + b" after\0")
    assert leaks(files(tmp_path), secrets) == (1, [f"{name} in {tmp_path / 'below' / 'log'}"])


def test_fault_64_logs_hold_no_secrets(home: Path, secrets: dict[bytes, str]) -> None:
    """Those of the services, and all that Ray writes of its nodes, jobs and workers."""
    count, found = leaks(files(home / "logs"), secrets)
    assert (count >= 6, found) == (True, [])
    count, found = leaks(files(StackFolder(home).run), secrets)
    assert (count >= 10, found) == (True, [])


def test_fault_64_what_services_keep_holds_no_secrets(home: Path, secrets: dict[bytes, str]) -> None:
    """Prefect's and MLflow's databases, with parameters, logs, artifacts, tags, metrics and users; S3's own files."""
    databases = {path.name for path in (home / "data").rglob("*.db")}
    assert databases >= {"prefect.db", "mlflow.db"}
    count, found = leaks(files(home / "data"), secrets)
    assert (count >= 10, found) == (True, [])


def test_fault_64_objects_hold_no_secrets(home: Path, secrets: dict[bytes, str]) -> None:
    """Shards, checkpoints, reports, the registry's record, and the models that MLflow keeps."""
    store = S3Store.from_settings(settings.get())
    buckets = [list(store.list(f"s3://{bucket}")) for bucket in ("adodn", "mlflow")]
    objects = ((info.uri, store.get(info.uri)) for infos in buckets for info in infos if info.bytes)  # no folder marks
    assert all(buckets)
    count, found = leaks(objects, secrets)
    assert (count >= 10, found) == (True, [])


def test_fault_64_servers_tell_no_secrets(home: Path, secrets: dict[bytes, str]) -> None:
    """What the services answer to who may ask: flow runs and their logs, MLflow's runs, Ray's jobs and their logs."""
    count, found = leaks(_answers(), secrets)
    assert (count >= 6, found) == (True, [])


def test_fault_64_command_lines_hold_no_secrets(home: Path, secrets: dict[bytes, str]) -> None:
    """Everybody on the machine reads those."""
    lines = ((str(process.pid), " ".join(process.cmdline()).encode()) for process in processes.marked(home))
    count, found = leaks(lines, secrets)
    assert (count >= 6, found) == (True, [])


WRONG = "f00d" * 16


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["status", "--json"],
        ["up"],
        ["up", "--json"],
        ["logs", "prefect"],
        ["logs", "worker", "-n", "500"],
        ["evaluate", "no-such-run", "--dataset", "s3://adodn/none"],
        ["lineage", "models:/adodn-68@champion"],
    ],
)
def test_fault_64_commands_print_no_secrets(home: Path, secrets: dict[bytes, str], words: list[str]) -> None:
    """Neither when they work nor when they fail."""
    output = _run([sys.executable, "-m", "adodn.cli", *words], {})
    assert output
    assert leaks(iter([(" ".join(words), output)]), secrets)[1] == []


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("ADODN_S3_SECRET_KEY", ["evaluate", "no-such-run", "--dataset", "s3://adodn/none"]),
        ("ADODN_S3_ACCESS_KEY", ["evaluate", "no-such-run", "--dataset", "s3://adodn/none"]),
        ("ADODN_MLFLOW_PASSWORD", ["lineage", "models:/adodn-68@champion"]),
    ],
)
def test_fault_64_errors_hold_no_secrets(
    home: Path, secrets: dict[bytes, str], variable: str, words: list[str]
) -> None:
    """A wrong credential is refused in one message, which shows neither it nor the right ones."""
    output = _run([sys.executable, "-m", "adodn.cli", *words], {variable: WRONG})
    shown = output.decode()
    assert "error: " in shown and "Traceback" not in shown, shown
    wrong = {WRONG.encode(): variable} if variable != "ADODN_S3_ACCESS_KEY" else {}  # a name may be said
    assert leaks(iter([(variable, output)]), secrets | wrong)[1] == []


def test_fault_64_prefects_own_commands_show_no_password(home: Path, secrets: dict[bytes, str]) -> None:
    """Its plugin hands the password over where `prefect plugins diagnose` and `prefect config view` do not show it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    for words in (["plugins", "diagnose"], ["config", "view", "--show-sources"], ["deployment", "ls"]):
        done = subprocess.run(
            [str(Path(sys.executable).parent / "prefect"), *words],
            cwd=deployments.ROOT,
            env=environment,
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert leaks(iter([(" ".join(words), done.stdout + done.stderr)]), secrets)[1] == []
    assert b"train-adodn" in done.stdout  # signed in by the plugin alone


def test_settings_show_no_secrets(home: Path, secrets: dict[bytes, str]) -> None:
    """A traceback or a log that prints them is harmless; pickled they travel to Ray's workers, printed they do not."""
    shown = repr(settings.get()) + str(settings.get()) + repr(S3Store.from_settings(settings.get()))
    shown += repr(StackConfig.recorded(StackFolder(home)))
    database = f"postgresql+psycopg://studies:{next(iter(secrets)).decode()}@db/studies"
    shown += repr(settings.get().model_copy(update={"study_url": database}))
    assert leaks(iter([("repr", shown.encode())]), secrets)[1] == []


def _answers() -> Iterator[tuple[str, bytes]]:
    places = settings.get()
    with deployments.on_the_stack(), get_client(sync_client=True) as client:
        for run in client.read_flow_runs(limit=200):
            yield f"flow run {run.name}", run.model_dump_json().encode()
        for line in client.read_logs(limit=200):
            yield "Prefect's log", line.message.encode()
        for deployment in client.read_deployments():
            yield f"deployment {deployment.name}", deployment.model_dump_json().encode()
        for pool in client.read_work_pools():
            yield f"work pool {pool.name}", pool.model_dump_json().encode()
    mlflow = MlflowClient(places.mlflow_tracking_uri)
    for run in mlflow.search_runs([experiment.experiment_id for experiment in mlflow.search_experiments()]):
        yield f"MLflow's run {run.info.run_name}", json.dumps(run.to_dictionary()).encode()
    token: Any = {"Authorization": f"Bearer {places.ray_auth_token.get_secret_value()}"}
    ray = JobSubmissionClient(places.ray_dashboard_url, headers=token)
    for job in ray.list_jobs():
        yield f"Ray's job {job.submission_id}", job.model_dump_json().encode()
        if job.submission_id:
            yield f"log of {job.submission_id}", ray.get_job_logs(job.submission_id).encode()


def _run(words: list[str], changed: dict[str, str]) -> bytes:
    done = subprocess.run(words, env={**os.environ, **changed}, capture_output=True, timeout=600)
    return done.stdout + done.stderr
