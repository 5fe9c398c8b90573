"""Fixtures that all tests share: one local stack a session, and the folder of real data."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from adodn import settings
from adodn.data.store import S3Store
from infra import processes
from infra import stack as local_stack
from tests.benchmarks.s3_server import s3_server
from tests.ports import free_ports

# Two processes test side by side, and a test's processes stand beside those: threads that wait for each other's cores
# would take most of the time. Read when torch is first imported, here and in all processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


class _ByServices(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """One of several processes runs all tests of the services, so that a session starts them once; files stay whole."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "services" if path.startswith(("tests/e2e/", "tests/integration/")) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How tests are parted where there are several processes."""
    return _ByServices(config, log)


def enter_home(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Make this process see the stack of a folder, on ports of its own, and no other."""
    for name in os.environ:
        if name.startswith(("ADODN_", "PREFECT_", "MLFLOW_", "RAY_", "AWS_")):
            patch.delenv(name)
    patch.setenv("ADODN_HOME", str(home))
    patch.setenv("DO_NOT_TRACK", "1")
    for name, port in free_ports().model_dump().items():
        patch.setenv(f"ADODN_PORT_{name.upper()}", str(port))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.StackInfo]:
    """The session's local stack; this process's settings and Prefect point to it."""
    shared_data = os.environ.get("ADODN_SHARED_DATA")
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("the home é")  # as folders are called: with a space, and letters beyond ASCII
        enter_home(patch, home)
        if shared_data:
            patch.setenv("ADODN_SHARED_DATA", shared_data)
        patch.setenv("ADODN_SYSTEM_METRICS_EVERY_S", "1")  # trainings here are short
        # As the stack has it for its jobs.
        patch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        info = local_stack.up(progress=lambda line: None)
        try:
            settings.get.cache_clear()
            places = settings.get()
            patch.setenv("PREFECT_API_URL", places.prefect_api_url)
            patch.setenv("PREFECT_API_AUTH_STRING", places.prefect_auth_string.get_secret_value())
            patch.setenv("MLFLOW_TRACKING_USERNAME", places.mlflow_username)
            patch.setenv("MLFLOW_TRACKING_PASSWORD", places.mlflow_password.get_secret_value())
            yield info
        finally:
            local_stack.down()
    settings.get.cache_clear()
    assert processes.marked(home) == [], "`down` left processes behind"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """A real S3 server of the session's own, with the bucket `adodn`."""
    with s3_server(tmp_path_factory.mktemp("s3")) as store:
        store.ensure_bucket("adodn")
        yield store


@pytest.fixture
def s3_folder(s3: S3Store) -> str:
    """A fresh place on it: `s3://adodn/…`, without a slash at the end."""
    return f"s3://adodn/{uuid.uuid4().hex}"


@pytest.fixture
def s3_prefix(stack: local_stack.StackInfo) -> str:
    """A fresh place on the stack's S3: `s3://BUCKET/tests/…`, without a slash at the end."""
    return f"s3://{settings.get().bucket}/tests/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real datasets: `$ADODN_SHARED_DATA`, else `../shared/data` beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("ADODN_SHARED_DATA") or beside)
    if not path.is_dir():
        pytest.skip(f"needs real data: set ADODN_SHARED_DATA, or put it in {beside}")
    return path
