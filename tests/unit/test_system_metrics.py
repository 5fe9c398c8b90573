"""The figures of a node: MLflow is signed in to, and one that hangs holds no training up.

pytest tests/unit/test_system_metrics.py
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from pydantic import SecretStr

from adodn import settings, system_metrics
from adodn.settings import Settings
from infra.config import HOST
from tests.processes import TIMEOUT_S
from tests.training_runs import wait_until

_SIGNED_IN = "Basic dHJhaW5lcjpzZWNyZXQ="


class _Guarded(BaseHTTPRequestHandler):
    """As MLflow answers behind basic authentication."""

    sent: list[str]

    def do_GET(self) -> None:
        """A run that goes on."""
        self._answer({"run": {"info": {"run_id": "0" * 32, "status": "RUNNING"}, "data": {}}})

    def do_POST(self) -> None:
        """Metrics come in."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._answer({}):
            self.sent += [metric["key"] for metric in body.get("metrics", [])]

    def _answer(self, content: object) -> bool:
        allowed = self.headers.get("Authorization") == _SIGNED_IN
        body = json.dumps(content).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return allowed

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def guarded() -> Iterator[tuple[str, list[str]]]:
    """Its address, and the names of the metrics that it took."""
    sent: list[str] = []
    handler = type("Handler", (_Guarded,), {"sent": sent})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}", sent
        server.shutdown()


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow reads is set by what is tested, and is as before after the test."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    places = Settings(mlflow_username="trainer", mlflow_password=SecretStr("secret"))
    monkeypatch.setattr(settings, "get", lambda: places)


def test_a_node_signs_in_to_mlflow() -> None:
    """On every node, where nothing else of the process has done so."""
    with guarded() as (uri, sent), system_metrics.watched(uri, "0" * 32, "node_1", every_s=0.05):
        wait_until(lambda: "system/node_1/cpu_utilization_percentage" in sent, "the node's figures")


def test_a_server_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never answers: neither the start of a training waits for it nor, for long, the end."""
    monkeypatch.setattr(system_metrics, "_LAST_S", 0.1)
    with socket.create_server((HOST, 0)) as silent:
        start = time.monotonic()
        with system_metrics.watched(f"http://{HOST}:{silent.getsockname()[1]}", "0" * 32, "node_0", every_s=0.05):
            begun = time.monotonic()
        ended = time.monotonic()

    assert begun - start < 5 and ended - begun < 5 < TIMEOUT_S


def test_what_goes_wrong_in_the_watching_ends_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever MLflow's monitor raises."""

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no such machine")

    monkeypatch.setattr(system_metrics, "SystemMetricsMonitor", broken)
    with system_metrics.watched("http://127.0.0.1:1", "0" * 32, "node_0", every_s=0.05):
        pass
