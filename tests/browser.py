"""A headless Chromium without network, driven through its DevTools: what a page logs, how wide it is, what it shows.

with open_page(path, width_px=375) as page:
    page.evaluate("document.images.length"), page.messages
"""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.processes import TIMEOUT_S

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)


def browser() -> str:
    """The program; a test that needs it is skipped where there is none."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        pytest.skip(f"needs a browser, none of {', '.join(_NAMES)} is installed: apt-get install chromium")
    return found


@dataclass
class OpenPage:
    """A page that was loaded to its end."""

    _socket: Connection
    messages: list[str] = field(default_factory=list)
    """What the console and the browser had to say: errors, warnings, refusals by its policy."""
    requests: list[str] = field(default_factory=list)
    """Addresses that were asked for, but for `data:`."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := self.receive()).get("id") != number:
            pass
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def receive(self) -> dict[str, Any]:
        """The next message of the browser; events are noted down."""
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=TIMEOUT_S))
        method, params = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.messages.append(params["exceptionDetails"]["text"])
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
            self.requests.append(params["request"]["url"])
        return message

    def load(self, address: str) -> None:
        """Go there, and wait until everything is loaded."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        while self.receive().get("method") != "Page.loadEventFired":
            pass


@contextmanager
def open_page(path: Path, *, width_px: int = 1200, height_px: int = 900) -> Iterator[OpenPage]:
    """A file in a browser whose window is so wide. Nothing of the browser outlives the block."""
    program = browser()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", f"--window-size={width_px},{height_px}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_page_address(Path(profile), process), max_size=None, open_timeout=TIMEOUT_S) as socket:
                page = OpenPage(socket)
                # a window is no narrower than the browser likes; the page's own width is what is asked for
                page.call(
                    "Emulation.setDeviceMetricsOverride",
                    width=width_px,
                    height=height_px,
                    deviceScaleFactor=1,
                    mobile=width_px < 600,
                )
                page.load(path.resolve().as_uri())
                yield page
        finally:
            process.kill()
            process.wait()


def _page_address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the DevTools of the first tab listen."""
    port, deadline = profile / "DevToolsActivePort", time.monotonic() + TIMEOUT_S
    while not port.exists() or not port.read_text().strip():
        assert process.poll() is None, f"the browser ended with code {process.returncode}"
        assert time.monotonic() < deadline, f"the browser did not start within {TIMEOUT_S} s"
        time.sleep(0.05)
    number = port.read_text().splitlines()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{number}/json", timeout=TIMEOUT_S) as answer:
        tabs = json.load(answer)
    return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
