"""The folder that holds a stack's state, and the names of what lies in it. It knows no service.

folder = StackFolder(adodn.settings.home())
folder.create()
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

LONGEST_RUN_PATH = 36
"""Bytes. A unix socket's path has at most 107; below its folder Ray adds up to 70 (session, pid, socket)."""


@dataclass(frozen=True)
class StackFolder:
    """Paths below `$ADODN_HOME`. `data` outlives the stack; `run` does not."""

    home: Path

    @property
    def data(self) -> Path:
        """What the services store."""
        return self.home / "data"

    @property
    def run(self) -> Path:
        """Sockets and Ray's session: `home/run`, or the short folder of plain letters that it points to."""
        return (self.home / "run").resolve()

    @property
    def env(self) -> Path:
        """Endpoints and secrets, read by `adodn.settings`."""
        return self.home / "stack.env"

    @property
    def node_env(self) -> Path:
        """What another machine needs to take part in Ray here: its `stack.env`."""
        return self.home / "node.env"

    @property
    def record(self) -> Path:
        """Ports and shares of the last `adodn up`."""
        return self.home / "stack.json"

    @property
    def lock(self) -> Path:
        """Held by `up` and `down`."""
        return self.home / "stack.lock"

    def log(self, service: str) -> Path:
        """The log of a service, or of the supervisor."""
        return self.home / "logs" / f"{service}.log"

    def create(self) -> None:
        """Make the folders, for this user only; keeps what is there."""
        for folder in (self.home, self.data, self.home / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        link = self.home / "run"
        if link.is_dir():
            return
        link.unlink(missing_ok=True)  # it pointed to a folder that a reboot took
        if len(os.fsencode(link)) <= LONGEST_RUN_PATH and str(link).isascii():  # Ray's compiled part takes no other
            link.mkdir(mode=0o700)
        else:
            link.symlink_to(tempfile.mkdtemp(prefix="adodn-", dir="/tmp"))

    def remove_run(self) -> None:
        """Remove sockets and Ray's session, wherever they lie."""
        link = self.home / "run"
        shutil.rmtree(self.run, ignore_errors=True)
        if link.is_symlink():
            link.unlink()

    def write_private(self, path: Path, text: str) -> None:
        """Write a file that only this user can read; it appears whole or not at all."""
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        aside.replace(path)
