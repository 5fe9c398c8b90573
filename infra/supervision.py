"""Keeps the services alive through supervisord: writes its config, starts it, talks to it over its unix socket.

supervisor = Supervisor(folder)
supervisor.launch(config); supervisor.start("s3"); supervisor.states()["s3"].state
"""

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from adodn.errors import StackError
from infra.config import StackConfig
from infra.folder import StackFolder
from infra.processes import MARK_SERVICE
from infra.services import SERVICES, base_environment

_LAUNCH_S = 20.0
_STOP_S = 10
_LOG = {"maxbytes": "5MB", "backups": "2"}


@dataclass(frozen=True)
class ProgramState:
    """What the supervisor knows of a service."""

    state: str
    """RUNNING, STARTING, BACKOFF, STOPPED, FATAL, …: supervisord's words."""
    pid: int | None
    started_at: float
    """Seconds since the epoch; 0: never."""


class Supervisor:
    """A stack's supervisord."""

    def __init__(self, folder: StackFolder) -> None:
        self._folder = folder
        self._socket = folder.run / "supervisor.sock"

    def is_alive(self) -> bool:
        """Whether it answers; a socket that a killed one left behind does not."""
        try:
            return bool(self._rpc().getState()["statename"] == "RUNNING")
        except (OSError, HTTPException, Fault):
            return False

    def launch(self, config: StackConfig) -> None:
        """Start it as a daemon, with all services known and none running.

        Raises:
            StackError: it does not start.
        """
        self._socket.unlink(missing_ok=True)
        path = self._folder.run / "supervisord.conf"
        self._folder.write_private(path, self._config_text())
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(path)]
        environment = {**base_environment(config), MARK_SERVICE: "supervisor"}
        done = subprocess.run(command, env=environment, cwd=self._folder.home, capture_output=True, text=True)
        deadline = time.monotonic() + _LAUNCH_S
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.is_alive():
                return
            time.sleep(0.1)
        raise StackError(
            f"supervisord did not start: {(done.stderr or done.stdout).strip() or 'no answer on its socket'}; "
            f"its log is {self._folder.log('supervisor')}"
        )

    def states(self) -> dict[str, ProgramState]:
        """Of every service."""
        programs = self._rpc().getAllProcessInfo()
        return {p["name"]: ProgramState(p["statename"], p["pid"] or None, float(p["start"])) for p in programs}

    def start(self, service: str) -> None:
        """Start a service, without waiting for it; one that runs stays as it is."""
        _ignoring("ALREADY_STARTED", self._rpc().startProcess, service, False)

    def stop(self, services: list[str]) -> None:
        """Stop services at the same time, and wait until they have ended."""
        for service in services:
            _ignoring("NOT_RUNNING", self._rpc().stopProcess, service, False)
        deadline = time.monotonic() + _STOP_S + 5
        while time.monotonic() < deadline:
            states = self.states()
            if not any(states[service].pid for service in services):
                return
            time.sleep(0.1)

    def shutdown(self) -> None:
        """End it; whatever still runs ends with it."""
        self._rpc().shutdown()

    def _rpc(self) -> Any:
        # The URL is not used: the transport knows the socket.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def _config_text(self) -> str:
        run, log = self._folder.run, self._folder.log("supervisor")
        sections = {
            "supervisord": {
                **{f"logfile_{name}": value for name, value in _LOG.items()},
                "logfile": str(log),
                "pidfile": str(run / "supervisord.pid"),
                "umask": "077",
            },
            "unix_http_server": {"file": str(self._socket), "chmod": "0600"},
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
            },
            **{f"program:{name}": self._program(name) for name in SERVICES},
        }
        lines = [
            f"[{title}]\n" + "".join(f"{key}={value.replace('%', '%%')}\n" for key, value in section.items())
            for title, section in sections.items()
        ]
        return "\n".join(lines)

    def _program(self, name: str) -> dict[str, str]:
        return {
            "command": shlex.join([sys.executable, "-m", "infra.launch", name]),
            "environment": f'{MARK_SERVICE}="{name}"',
            "autostart": "false",
            "autorestart": "true",
            "startsecs": "15",  # a service that dies sooner has not started; the third time it is given up
            "startretries": "2",
            "stopsignal": SERVICES[name].stop_signal,
            "stopwaitsecs": str(_STOP_S),
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(self._folder.log(name)),
            **{f"stdout_logfile_{key}": value for key, value in _LOG.items()},
        }


def _ignoring(fault: str, call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except Fault as error:
        if not error.faultString.startswith(fault):
            raise StackError(f"supervisord refuses: {error.faultString}") from error
