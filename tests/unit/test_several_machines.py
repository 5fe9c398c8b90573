"""What can be told without another machine: where Ray may listen, who may join it, and the interface of an address.

pytest tests/unit/test_several_machines.py
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from adodn.errors import StackError
from adodn.settings import Settings
from adodn.train import process_group
from adodn.train.process_group import interface_of
from infra.addresses import public_addresses, warning
from infra.config import HOST, StackConfig, StackPorts, require_free
from infra.folder import StackFolder
from infra.join import become_node
from infra.services import SERVICES, base_environment


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StackFolder]:
    made = StackFolder(tmp_path)
    made.create()
    yield made
    made.remove_run()  # it may lie in /tmp


def test_by_default_ray_is_for_this_machine_alone(folder: StackFolder) -> None:
    """So are all services: no command of theirs names another address."""
    config = StackConfig.wanted(folder)

    assert config.ray_address.startswith(f"{HOST}:")
    argv = SERVICES["ray"].command(config).argv
    assert argv[argv.index("--node-ip-address") + 1] == HOST


@pytest.mark.parametrize("host", ["10.1.2.3", "100.64.0.9"])
def test_ray_alone_gets_the_address_that_it_is_given(
    host: str, folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dashboard and job server stay on loopback; the address, of an overlay network also, is noted for others."""
    monkeypatch.setenv("ADODN_RAY_HOST", host)
    config = StackConfig.wanted(folder)
    config.save()

    commands = {name: SERVICES[name].command(config).argv for name in SERVICES}
    assert [name for name, argv in commands.items() if any(host in word for word in argv)] == ["ray"]
    assert commands["ray"][commands["ray"].index("--dashboard-host") + 1] == HOST
    assert f"ADODN_RAY_ADDRESS={host}:{config.ports.ray_gcs}\n" in config.folder.env.read_text()
    assert StackConfig.recorded(config.folder).ray_address == config.ray_address


def test_what_tunes_ray_reaches_the_head(folder: StackFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """How soon a machine is taken for lost, as docs/several-machines.md has it; never the address of another Ray."""
    tuning = {"RAY_health_check_period_ms": "1000", "RAY_memory_usage_threshold": "0.8"}
    for name, value in (tuning | {"RAY_ADDRESS": "elsewhere:6379", "RAY_AUTH_TOKEN": "another's"}).items():
        monkeypatch.setenv(name, value)

    given = base_environment(StackConfig.wanted(folder))

    assert {name: given[name] for name in given if name.startswith(("RAY_health", "RAY_memory"))} == tuning
    assert not {"RAY_ADDRESS", "RAY_AUTH_TOKEN"} & set(given)


def test_whoever_is_on_the_internet_is_told_that_ray_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of public addresses, and of no other."""

    def entry(address: str) -> SimpleNamespace:
        return SimpleNamespace(address=address)

    cards = {"lo": ["127.0.0.1", "::1"], "lan": ["10.0.0.5", "fe80::1%lan", "52:54:00:12:34:56"]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {name: list(map(entry, has)) for name, has in cards.items()})
    assert public_addresses() == []

    cards["wan"] = ["8.8.4.4", "2001:4860:4860::8844"]
    assert public_addresses() == ["2001:4860:4860::8844", "8.8.4.4"]
    assert "8.8.4.4 too" in warning(public_addresses())


def test_a_node_is_given_what_it_trains_with_and_no_more(folder: StackFolder) -> None:
    """The trainer's keys and no other's; nothing of Prefect's password or the key of MLflow's sessions."""
    config = StackConfig.wanted(folder)
    config.save()

    text = config.folder.node_env.read_text()
    node, secrets = Settings(_env_file=config.folder.node_env), config.credentials  # type: ignore[call-arg]
    assert config.folder.node_env.stat().st_mode & 0o777 == 0o600
    assert (node.s3_access_key, node.ray_address) == (secrets.s3["trainer"].access_key, config.ray_address)
    for role in ("owner", "shards", "registry", "mlflow"):
        assert secrets.s3[role].secret_key not in text
    assert secrets.prefect_auth_string not in text
    assert secrets.mlflow_session_key not in text


@pytest.mark.parametrize("host", ["0.0.0.0", "8.8.8.8", "100.128.0.1", "224.0.0.1", "machine", ""])
def test_ray_is_not_opened_to_the_world(host: str, folder: StackFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any address at all, a public one, a name: refused with the rule."""
    monkeypatch.setenv("ADODN_RAY_HOST", host)

    with pytest.raises(StackError, match=r"host: .*ADODN_RAY_"):
        StackConfig.wanted(folder)


def test_an_address_of_another_machine_is_refused() -> None:
    """Before anything is started."""
    with pytest.raises(StackError, match=r"ADODN_RAY_HOST must be an address of this machine .* '10\.255\.255\.1'"):
        require_free(StackPorts(), "10.255.255.1")


def test_an_interface_is_found_by_its_address() -> None:
    """Loopback by 127.0.0.1; none by an address that this machine has not."""
    assert interface_of("127.0.0.1") in ("lo", "lo0")
    assert interface_of("10.255.255.1") is None


def test_gloo_and_nccl_are_given_the_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the node's address, by its whole name; what the user says stays."""
    monkeypatch.setattr("adodn.train.process_group.ray.util.get_node_ip_address", lambda: HOST)
    for name, said in (("GLOO_SOCKET_IFNAME", "mine"), ("NCCL_SOCKET_IFNAME", "")):
        monkeypatch.setenv(name, said)
    monkeypatch.delenv("NCCL_SOCKET_IFNAME")

    process_group._choose_interface()

    assert (os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]) == ("mine", f"={interface_of(HOST)}")


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("address", ["", "127.0.0.1:6380", "localhost:6380"])
def test_nobody_joins_a_ray_that_is_for_one_machine(address: str) -> None:
    """The error says what to do on that machine."""
    with pytest.raises(StackError, match="ADODN_RAY_HOST=ITS_ADDRESS adodn up"):
        become_node(Settings(ray_address=address), num_cpus=None)


def test_a_machine_that_cannot_reach_s3_or_mlflow_does_not_join() -> None:
    """What does not answer is named, with the tunnel that brings it here."""
    with socket.create_server((HOST, 0)) as unused:
        closed = unused.getsockname()[1]
    with listening() as port:
        places = Settings(ray_address="10.255.255.1:6380", s3_endpoint_url=f"http://{HOST}:{closed}")
        with pytest.raises(StackError, match=rf"S3 does not answer .*ssh -N -L {closed}:127.0.0.1:{closed}"):
            become_node(places, num_cpus=None)
        mlflow = places.model_copy(
            update={"s3_endpoint_url": f"http://{HOST}:{port}", "mlflow_tracking_uri": f"http://{HOST}:{closed}"}
        )
        with pytest.raises(StackError, match="MLflow does not answer"):
            become_node(mlflow, num_cpus=None)


@pytest.mark.parametrize(("variable", "number"), [("0", None), ("2", 0), ("many", None)])
def test_a_share_that_is_none_is_refused_in_one_line(
    variable: str, number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody is asked; by the variable's or by the option's."""
    monkeypatch.setenv("ADODN_RAY_NUM_CPUS", variable)

    with pytest.raises(StackError, match=r"not allowed: num_cpus: .*ADODN_RAY_"):
        become_node(Settings(), number)
