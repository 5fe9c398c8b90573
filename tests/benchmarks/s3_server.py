"""The stack's own S3 server, alone, on ports and in a folder of its own.

with s3_server(Path(folder)) as store:
    store.put("s3://adodn/a", b"…")
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tenacity
from pydantic import SecretStr

from adodn.data.store import S3Store
from infra import health
from infra.config import RayShare, StackConfig
from infra.credentials import OWNER, Credentials
from infra.folder import StackFolder
from infra.services import SERVICES, base_environment
from tests.ports import free_ports


@contextmanager
def s3_server(home: Path) -> Iterator[S3Store]:
    """Starts the server, waits until it is healthy, and ends it afterwards; the answer is its owner's."""
    with configured_server(home) as config:
        yield store_of(config, OWNER)


def store_of(config: StackConfig, role: str) -> S3Store:
    """The server as a role sees it."""
    pair = config.credentials.s3[role]
    return S3Store(endpoint_url=config.url("s3"), access_key=pair.access_key, secret_key=SecretStr(pair.secret_key))


@contextmanager
def configured_server(home: Path) -> Iterator[StackConfig]:
    """The same, and what it was started with."""
    folder = StackFolder(home)
    folder.create()
    config = StackConfig(folder=folder, ports=free_ports(), ray=RayShare(), credentials=Credentials.of({}))
    command = SERVICES["s3"].command(config)
    with folder.log("s3").open("wb") as log:
        server = subprocess.Popen(
            command.argv, env={**base_environment(config), **command.env}, cwd=home, stdout=log, stderr=log
        )
        try:
            _wait(config)
            yield config
        finally:
            server.kill()  # its data is thrown away
            server.wait()
            folder.remove_run()


@tenacity.retry(
    wait=tenacity.wait_fixed(0.2),
    stop=tenacity.stop_after_delay(SERVICES["s3"].deadline_s),
    retry=tenacity.retry_if_result(lambda problem: problem is not None),
)
def _wait(config: StackConfig) -> str | None:
    return health.problem("s3", config, since=0.0)
