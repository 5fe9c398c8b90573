"""Whose turn it is in a deployment outlives a restart of Prefect's server: locally, on a cluster, in containers.

pytest tests/unit/test_turns.py
"""

import asyncio
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.settings.models.server.concurrency import ServerConcurrencySettings

from infra import cluster_secrets
from infra.config import StackConfig
from infra.folder import StackFolder
from infra.services import SERVICES
from tests.manifests import COMPOSE_FILE, pod, resource, variables

SETTING = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"


def of_the_stack(home: Path) -> str:
    """As the local stack sets it."""
    folder = StackFolder(home)
    folder.create()
    return SERVICES["prefect"].command(StackConfig.wanted(folder)).env[SETTING]


def test_a_lease_outlives_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one server wrote down the next one renews; only a lease that nobody was given is refused."""
    monkeypatch.setenv(SETTING, of_the_stack(tmp_path / "stack"))
    module = import_module(ServerConcurrencySettings().lease_storage)

    async def restarted() -> tuple[bool, bool]:
        lease = await module.ConcurrencyLeaseStorage().create_lease([uuid4()], timedelta(seconds=300))
        after = module.ConcurrencyLeaseStorage()
        minutes = timedelta(seconds=300)
        return await after.renew_lease(lease.id, minutes), await after.renew_lease(uuid4(), minutes)

    with temporary_settings({PREFECT_HOME: tmp_path / "prefect"}):
        assert asyncio.run(restarted()) == (True, False)


def test_elsewhere_leases_are_kept_likewise_and_on_a_volume(tmp_path: Path) -> None:
    """That of a pod goes with the pod unless it is claimed, that of a container with the container."""
    server = pod("prefect")
    (container,) = server.containers()
    compose = yaml.safe_load(COMPOSE_FILE.read_text())
    given = variables(container, cluster_secrets.fresh())

    assert given[SETTING] == compose["services"]["prefect"]["environment"][SETTING] == of_the_stack(tmp_path)
    (state,) = [one for one in container["volumeMounts"] if one["name"] == "state"]
    assert Path(str(given["PREFECT_HOME"])).is_relative_to(state["mountPath"])
    (volume,) = [one for one in server.spec["volumes"] if one["name"] == state["name"]]
    assert resource("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    assert compose["services"]["prefect"]["volumes"] == [f"prefect:{state['mountPath']}"]
    assert "prefect" in compose["volumes"]
