"""Workers that come and go, on a real Ray cluster: a node is taken away on notice, another one is added.

pytest tests/chaos/test_elastic.py
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from ray.job_submission import JobSubmissionClient

from adodn import recipes, settings
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.train import alone
from adodn.train.checkpoint_index import INDEX
from adodn.train.loaders import on_data
from infra.config import HOST
from infra.processes import MARK_HOME, MARK_SERVICE
from infra.stack import StackInfo
from tests.processes import TIMEOUT_S
from tests.training_runs import losses, small_dataset, tracked, train_command, wait_until, worker_processes

pytestmark = pytest.mark.integration

CHANGES = {"train.precision": "fp64", "train.epochs": 12}
CPUS = float(os.cpu_count() or 1)
"""Of a node, as Ray counts them; one worker takes all."""
NOTICE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1"}


class Node:
    """One more node of the stack's Ray, on this machine.

    Args:
        home: The stack's folder.
    """

    def __init__(self, home: Path) -> None:
        places = settings.get()
        self._address = places.ray_address
        self._env = os.environ | {
            MARK_HOME: str(home),
            MARK_SERVICE: "ray",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": places.ray_auth_token.get_secret_value(),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
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

    def workers(self) -> int:
        """How many workers of a training it runs."""
        return sum("RayTrainWorker" in " ".join(command) for command in self._commands())

    def _commands(self) -> Iterator[list[str]]:
        for process in self._family():
            try:
                yield process.cmdline()
            except psutil.Error:
                continue

    def _family(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            return []
        return list(psutil.Process(self._process.pid).children(recursive=True))

    def _node_id(self) -> str:
        words = [word for command in self._commands() for word in command if word.startswith("--node_id=")]
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
def node(home: Path) -> Iterator[Node]:
    """A node that ends with the test."""
    made = Node(home)
    try:
        yield made
    finally:
        made.power_off()


@pytest.fixture(scope="module")
def dataset_uri(stack: StackInfo) -> str:
    return small_dataset(num_train=192)


def begin(dataset_uri: str, run_name: str, **resources: Any) -> subprocess.Popen[str]:
    words = [dataset_uri, run_name, json.dumps(CHANGES), json.dumps({"cpus_per_worker": CPUS, **resources})]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.elastic_training", *words],
        env=os.environ | NOTICE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def sizes(outcome: dict[str, Any]) -> list[float]:
    """How many workers finished each epoch."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    history = client.get_metric_history(outcome["tracking_run_id"], "train/workers")
    return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]


def test_a_group_that_loses_and_gains_a_node_trains_the_same(stack: StackInfo, dataset_uri: str) -> None:
    """Faults 30, 31: on notice there is a checkpoint at once, in mid-epoch; when the node is gone, one worker goes on,
    with no failure charged; when another node comes, there are two again. Losses and validation are those of one
    process that was never disturbed.
    """
    with node(stack.home) as first:
        process = begin(dataset_uri, "elastic", num_workers=2, min_workers=1, resize_s=5, max_failures=0)
        wait_until(lambda: first.workers() == 1 and epoch_of("elastic"), "an epoch of two workers")
        first.give_notice(seconds=30)
        wait_until(
            lambda: any(kept["val_nme"] is None for kept in listed("elastic")["latest"]), "a checkpoint on notice"
        )
        writer = listed("elastic")["writer"]
        # Ray ends the group itself when the time is over. A node that went before would be a failure as any other.
        wait_until(lambda: process.poll() is not None or listed("elastic")["writer"] != writer, "the end of the group")
    wait_until(lambda: process.poll() is not None or epoch_of("elastic", before=writer), "an epoch of one worker")
    assert process.poll() is None, process.communicate()[1][-3000:]
    (alone_now,) = worker_processes(stack.home)
    alone_now.suspend()  # so that it does not reach the end before the other node is there
    with node(stack.home) as second:
        second.wait()
        alone_now.resume()
        out, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors[-3000:]
    outcome = json.loads(out.strip().splitlines()[-1])
    manifest = read_manifest(S3Store.from_settings(settings.get()), dataset_uri)
    config = on_data(recipes.get("adodn_smoke").with_fields(CHANGES), [manifest])
    calm = asdict(alone.train(config, [dataset_uri], run_name="elastic-calm", places=settings.get()))

    assert [size for size, before in zip(sizes(outcome), [0, *sizes(outcome)], strict=False) if size != before] == [
        2,
        1,
        2,
    ]
    assert losses(outcome) == pytest.approx(losses(calm), rel=1e-9)
    assert outcome["val_nme"] == pytest.approx(calm["val_nme"], rel=1e-9)
    assert outcome["epochs"] == CHANGES["train.epochs"] == len(sizes(outcome))
    assert len(tracked("elastic")) == 1


def test_a_cluster_that_is_too_small_is_one_clear_error(stack: StackInfo, dataset_uri: str) -> None:
    """Fault 32: after the time that it was given to grow, with what was asked for, what is there, and what to change.
    No run is begun on MLflow.
    """
    words = ["--workers", "2", "--cpus-per-worker", "64", "--wait-minutes", "0.05"]
    done = subprocess.run(
        train_command(dataset_uri, "too-large", *words), capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert done.returncode == 1
    assert "waiting up to 0.1 minutes for room in the Ray cluster: 2 workers of 64 CPU each" in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert f"asks for 2 workers of 64 CPU each, the Ray cluster has {CPUS:g} CPU on 1 nodes" in error
    assert "--wait-minutes" in error and "Traceback" not in done.stderr
    assert tracked("too-large") == []


def test_a_group_waits_no_longer_than_it_may(stack: StackInfo) -> None:
    """Fault 32: nodes that went away in the course of a training do not come back; Ray itself would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.waiting_group"], capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert "ResourcesError: the training asks for 1 workers of 64 CPU each" in done.stdout, done.stderr[-3000:]
    assert "no more came in 0.1 minutes" in done.stdout
