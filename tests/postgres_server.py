"""A PostgreSQL of its own, from Debian's packages, on loopback, with the databases that the cluster's has.

with postgres_server() as server:
    server.url("prefect")        # postgresql://prefect:…@127.0.0.1:PORT/prefect
    server.kill(); server.start()
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from infra.deployments import ROOT
from tests.ports import free_port

_SETUP = ROOT / "infra" / "kubernetes" / "databases.sh"
USERS = ("prefect", "mlflow", "studies")
"""Each owns the database of its name."""
_ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root; Debian's package brings this account."""


class PostgresServer:
    """A server in a folder of its own.

    Args:
        binaries: Where PostgreSQL's programs are.
        folder: Its own.
        account: Who runs it; None: this process's user.
        passwords: Of users; new ones for those that are left out.
    """

    def __init__(self, binaries: Path, folder: Path, account: str | None, passwords: Mapping[str, str]) -> None:
        self.passwords = {name: secrets.token_hex(16) for name in ("postgres", *USERS)} | dict(passwords)
        self.port = free_port()
        self._binaries, self._folder, self._account = binaries, folder, account

    def url(self, name: str) -> str:
        """The address of a user's own database, password included."""
        return f"postgresql://{name}:{self.passwords[name]}@127.0.0.1:{self.port}/{name}"

    def create(self) -> None:
        """The server's folder, then its databases by the script that the cluster's manifests give to PostgreSQL."""
        password_file = self._folder / "password"
        password_file.write_text(self.passwords["postgres"])
        password_file.chmod(0o644)  # in a folder that only the server's account can enter
        self._run("initdb", "--auth=scram-sha-256", "--username=postgres", f"--pwfile={password_file}", "--no-sync")
        self.start()
        known = {f"{name.upper()}_PASSWORD": password for name, password in self.passwords.items()}
        known |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGPASSWORD": self.passwords["postgres"]}
        command = ["bash", "-Eeo", "pipefail", str(_SETUP)]
        subprocess.run(command, env={**os.environ, **known}, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        self._run("pg_ctl", "start", "--wait", f"--options={options}", f"--log={self._folder}/log")

    def kill(self) -> None:
        """End it as a crash does: every connection is cut, nothing is written any more."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def is_running(self) -> bool:
        """Whether it was started and not ended since."""
        return (self._folder / "data" / "postmaster.pid").exists()

    def rows(self, name: str, query: str) -> list[tuple[object, ...]]:
        """What a query of a user to its own database answers."""
        with psycopg.connect(self.url(name)) as connection:
            return connection.execute(query.encode()).fetchall()

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._binaries / program), f"--pgdata={self._folder}/data", *words]
        # Its output is not read: the server would inherit the pipe and hold it open.
        done = subprocess.run(command, user=self._account, cwd=self._folder, stdout=subprocess.DEVNULL)
        assert done.returncode == 0, f"{command} failed"


@contextmanager
def postgres_server(**passwords: str) -> Iterator[PostgresServer]:
    """A running server; skips where PostgreSQL is not installed."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    account = _ACCOUNT if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="adodn-pg-", dir="/tmp"))  # pytest's own is closed to other accounts
    if account:
        shutil.chown(folder, account)
    server = PostgresServer(binaries, folder, account, passwords)
    try:
        server.create()
        yield server
    finally:
        if server.is_running():
            server.kill()
        shutil.rmtree(folder)


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)
