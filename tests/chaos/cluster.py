"""A cluster of several machines on this one: S3 and MLflow on a host, Ray's head on another, workers on others.

    with network() as net, cluster(net, cpus={"a": 2, "b": 1}) as made:
        job = made.submit("calm", ["adodn", "train", …])
        made.nodes["b"].power_off()

Each host has an `ADODN_HOME` of its own, whose `stack.env` is what `adodn up` writes for nodes.
"""

import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.job_submission import JobSubmissionClient

from adodn.data.store import S3Store
from adodn.settings import Settings
from infra.config import BUCKETS, HOST, RayShare, StackConfig, StackPorts
from infra.folder import StackFolder
from infra.services import SERVICES, Command, base_environment
from tests.chaos.hosts import Host, Network
from tests.processes import TIMEOUT_S

LOST_NODE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
}
"""How soon Ray's head takes a silent node for lost, and a node its head: some 15 s instead of a minute."""
_PORTS = StackPorts.model_validate({})


class Cluster:
    """What runs, and where. Use `cluster()`."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.services, self.head = net.add_host("services"), net.add_host("head")
        self.nodes: dict[str, Host] = {}
        self.cpus: dict[str, int] = {}
        home = StackFolder(self.services.files / "home")
        home.create()
        ray = RayShare(host=self.head.address, num_cpus=1)
        self._config = replace(StackConfig.wanted(home), ports=_PORTS, ray=ray)
        self._config.save()
        for file in (home.env, home.node_env):
            home.write_private(self._moved_file(file.name), "".join(map(self._moved_line, file.open())))

    def _moved_file(self, name: str) -> Path:
        return self.net.own.with_name(name)

    def _moved_line(self, line: str) -> str:
        return line.replace(HOST, (self.head if line.startswith("ADODN_RAY") else self.services).address)

    def settings(self) -> Settings:
        """What this process needs to look at the cluster's S3, MLflow and jobs."""
        return Settings(_env_file=self._moved_file("stack.env"))  # type: ignore[call-arg]

    def store(self) -> S3Store:
        """The cluster's S3."""
        return S3Store.from_settings(self.settings())

    def environment(self, host: Host) -> dict[str, str]:
        """Of whatever runs on a host; makes its folder."""
        home = host.files / "home"
        home.mkdir(exist_ok=True)
        shutil.copyfile(self._moved_file("node.env"), home / "stack.env")
        return {
            **base_environment(self._config),
            **LOST_NODE,
            "ADODN_HOME": str(self.net.own / "home"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.settings().ray_auth_token.get_secret_value(),
            "RAY_ADDRESS": self._config.ray_address,
        }

    def start_services(self) -> None:
        """S3 with its buckets, then MLflow."""
        self._start_service("s3")
        store = self.store()
        wait_until(lambda: _answers(lambda: [list(store.list(f"s3://{name}/")) for name in BUCKETS]), "S3")
        self._start_service("mlflow")

    def _start_service(self, name: str) -> None:
        command = self._moved(SERVICES[name].command(self._config))
        env = {**base_environment(self._config), **command.env}
        self.services.start(command.argv, env, self.services.files / f"{name}.log")

    def _moved(self, command: Command) -> Command:
        """A command of the local stack, from loopback to the host's own address."""

        def there(word: str) -> str:
            return word.replace(HOST, self.services.address)

        return Command(
            [there(word) for word in command.argv], {name: there(value) for name, value in command.env.items()}
        )

    def start_head(self) -> None:
        """Ray's head, which trains nothing itself."""
        command = SERVICES["ray"].command(self._config)
        words = [self.head.address if word == HOST else word for word in command.argv]
        words[words.index("--temp-dir") + 1] = str(self.net.own / "ray")
        words[words.index("--num-cpus") + 1] = "0"
        self.head.start(words, self.environment(self.head) | command.env, self.head.files / "ray.log")

    def add_node(self, name: str, cpus: int) -> None:
        """A machine that trains."""
        if name not in self.nodes:
            self.nodes[name] = self.net.add_host(name)
        self.cpus[name] = cpus
        host = self.nodes[name]
        words = [sys.executable, "-m", "adodn.cli", "join", "--cpus", str(cpus)]
        host.start(words, self.environment(host), host.files / "ray.log")

    def jobs(self) -> JobSubmissionClient:
        """Ray's job server, as flows talk to it."""
        places = self.settings()
        headers = {"Authorization": f"Bearer {places.ray_auth_token.get_secret_value()}"}
        return JobSubmissionClient(places.ray_dashboard_url, headers=headers)

    def alive(self) -> set[str]:
        """The addresses of Ray's living nodes."""
        found = self.jobs()._do_request("GET", "/nodes?view=summary").json()["data"]["summary"]
        return {node["raylet"]["nodeManagerAddress"] for node in found if node["raylet"].get("state") == "ALIVE"}

    def restart(self) -> None:
        """Start head and nodes again, whose machines were turned off."""
        shutil.rmtree(self.head.files / "ray", ignore_errors=True)
        self.start_head()
        wait_until(lambda: _answers(lambda: self.alive() or None), "Ray's head")
        health = f"{self.settings().mlflow_tracking_uri}/health"
        wait_until(lambda: _answers(lambda: urllib.request.urlopen(health, timeout=10).close() or health), "MLflow")
        for name, count in self.cpus.items():
            self.add_node(name, count)
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        """Until all nodes are there."""
        wanted = {self.head.address, *(host.address for host in self.nodes.values())}
        wait_until(lambda: _answers(lambda: self.alive() == wanted or None), f"Ray's nodes {sorted(wanted)}")


@contextmanager
def cluster(net: Network, cpus: Mapping[str, int]) -> Iterator[Cluster]:
    """Everything up and answering; ends with the network."""
    made = Cluster(net)
    made.start_services()
    made.cpus.update(cpus)
    made.restart()
    yield made


def wait_until(condition: Callable[[], bool], what: str, seconds: float = TIMEOUT_S) -> None:
    """Poll until something is so.

    Raises:
        AssertionError: If it is not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)


def _answers(ask: Callable[[], Any]) -> bool:
    try:
        return ask() is not None
    except Exception:
        return False
