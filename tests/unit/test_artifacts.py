"""Artifacts are for show: where the server does not take them, a flow goes on, and its log says what is missing.

pytest tests/unit/test_artifacts.py
"""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from flows import artifacts
from tests.ports import free_ports

pytestmark = pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow:FutureWarning")
_KEYED: dict[str, Callable[..., Any]] = {
    "a-picture": partial(artifacts.create_image_artifact, image_url="data:image/png;base64,AA=="),
    "a-text": partial(artifacts.create_markdown_artifact, markdown="text"),
    "a-progress": partial(artifacts.create_progress_artifact, progress=1.0),
    "a-table": partial(artifacts.create_table_artifact, table=[{"a": 1}]),
    "a-link": partial(artifacts.create_link_artifact, link="https://example.com", link_text="there"),
}


class Refusing(BaseHTTPRequestHandler):
    """A server that answers each request with one status."""

    status = 404

    def log_message(self, *_: Any) -> None:
        pass

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PATCH = _refuse


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server that takes nothing."""
    with HTTPServer(("127.0.0.1", 0), Refusing) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/api"
        running.shutdown()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], UUID]], UUID]:
    """Publishes by Prefect's own client, which tries once, on a server at an address; logs where tests see it."""
    monkeypatch.setattr(artifacts, "get_run_logger", partial(logging.getLogger, "flow"))

    def asked(url: str, publish: Callable[[], UUID]) -> UUID:
        changed = {
            PREFECT_API_URL: url,
            PREFECT_CLIENT_MAX_RETRIES: 0,
            PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False,
        }
        with temporary_settings(changed):
            return publish()

    return asked


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING and record.name == "flow"]


@pytest.mark.parametrize("key", list(_KEYED))
def test_fault_43_an_artifact_that_finds_no_server_is_left_out(
    key: str, ask: Callable[[str, Callable[[], UUID]], UUID], caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 43: nothing listens. The flow gets an id to go on with; the warning names the artifact and the reason."""
    nowhere = f"http://127.0.0.1:{free_ports().prefect}/api"

    found = ask(nowhere, partial(_KEYED[key], key=key))

    assert isinstance(found, UUID)
    (said,) = warnings(caplog)
    assert said.startswith(f"{key} left out: ConnectError")


@pytest.mark.parametrize(("status", "why"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_fault_43_progress_of_an_artifact_that_was_left_out_is_left_out_too(
    status: int,
    why: str,
    server: str,
    ask: Callable[[str, Callable[[], UUID]], UUID],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 43: the server is back, knows no artifact of that id, or is broken."""
    monkeypatch.setattr(Refusing, "status", status)

    ask(server, partial(artifacts.update_progress_artifact, uuid4(), progress=50.0))

    (said,) = warnings(caplog)
    assert said.startswith("the artifact's progress left out: ") and why in said
