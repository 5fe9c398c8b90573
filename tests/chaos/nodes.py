"""One more node of the stack's Ray, and trainings that spread over it and the first.

with node(stack.home) as second:
    process = begin(dataset_uri, "run", {"train.epochs": 3}, num_workers=2)
    wait_until(second.workers, "a worker on the second node")
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from ray.job_submission import JobSubmissionClient

from adodn import recipes, settings
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.train import alone
from adodn.train.checkpoint_index import INDEX
from adodn.train.loaders import on_data
from infra.config import HOST
from infra.processes import MARK_HOME, MARK_SERVICE
from tests.processes import TIMEOUT_S
from tests.training_runs import wait_until

CPUS = float(os.cpu_count() or 1)
"""Of a node, as Ray counts them; one worker takes all."""


class Node:
    """One more node of the stack's Ray, on this machine.

    Args:
        home: The stack's folder.
        variables: What its environment has more.
    """

    def __init__(self, home: Path, variables: Mapping[str, str]) -> None:
        places = settings.get()
        self._address = places.ray_address
        self._env = os.environ | {
            MARK_HOME: str(home),
            MARK_SERVICE: "ray",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": places.ray_auth_token.get_secret_value(),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            **variables,
        }
        self._ray = str(Path(sys.executable).parent / "ray")
        words = ["start", "--block", "--address", self._address, "--node-ip-address", HOST, "--disable-usage-stats"]
        words += ["--num-cpus", f"{CPUS:.0f}", "--object-store-memory", "80000000"]
        words += ["--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.loopback_node", *words],
            env=self._env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def give_notice(self, seconds: int) -> None:
        """Tell Ray that the node will be taken away, as a cloud does."""
        words = ["drain-node", "--address", self._address, "--node-id", wait_until(self._node_id, "the node's raylet")]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"]
        words += ["--deadline-remaining-seconds", str(seconds)]
        subprocess.run([self._ray, *words], env=self._env, check=True, capture_output=True, timeout=TIMEOUT_S)

    def wait(self) -> None:
        """Until Ray's head knows it, too."""
        wanted = wait_until(self._node_id, "the node's raylet")
        jobs = JobSubmissionClient(
            settings.get().ray_dashboard_url, headers={"Authorization": f"Bearer {self._env['RAY_AUTH_TOKEN']}"}
        )
        wait_until(lambda: wanted in jobs._do_request("GET", "/nodes?view=summary").text, "the node in Ray's list")

    def workers(self) -> set[int]:
        """Process ids of the workers of trainings that it runs."""
        return {pid for pid, command in self._commands() if "RayTrainWorker" in " ".join(command)}

    def _commands(self) -> Iterator[tuple[int, list[str]]]:
        for process in self._family():
            try:
                yield process.pid, process.cmdline()
            except psutil.Error:
                continue

    def _family(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            return []
        return list(psutil.Process(self._process.pid).children(recursive=True))

    def _node_id(self) -> str:
        words = [word for _, command in self._commands() for word in command if word.startswith("--node_id=")]
        return words[0].partition("=")[2] if words else ""

    def power_off(self) -> None:
        """End all its processes at once."""
        family = self._family()
        for process in [*family, self._process]:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=TIMEOUT_S)
        self._process.wait(TIMEOUT_S)


@contextmanager
def node(home: Path, **variables: str) -> Iterator[Node]:
    """A node that ends with the test."""
    made = Node(home, variables)
    try:
        yield made
    finally:
        made.power_off()


def begin(dataset_uri: str, run_name: str, changes: dict[str, object], **resources: Any) -> subprocess.Popen[str]:
    """Begin a training whose workers take a node each."""
    words = [dataset_uri, run_name, json.dumps(changes), json.dumps({"cpus_per_worker": CPUS, **resources})]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.elastic_training", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def calm(dataset_uri: str, run_name: str, changes: dict[str, object]) -> dict[str, Any]:
    """What the training comes to in one process that nobody disturbs."""
    manifest = read_manifest(S3Store.from_settings(settings.get()), dataset_uri)
    config = on_data(recipes.get("adodn_smoke").with_fields(changes), [manifest])
    return asdict(alone.train(config, [dataset_uri], run_name=run_name, places=settings.get()))


def listed(run_name: str) -> dict[str, Any]:
    """A run's list of checkpoints."""
    store, uri = S3Store.from_settings(settings.get()), f"{settings.get().runs_uri}/{run_name}/{INDEX}"
    index: dict[str, Any] = json.loads(store.get(uri)) if store.exists(uri) else {"writer": "", "latest": []}
    return index


def epoch_of(run_name: str, before: str = "") -> bool:
    """Whether a group has saved the end of an epoch; another one than that which saved `before`."""
    index = listed(run_name)
    return index["writer"] != before and any(
        kept["val_nme"] is not None and kept["folder"].endswith(index["writer"][:8]) for kept in index["latest"]
    )
