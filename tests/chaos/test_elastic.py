"""Workers that come and go, on a real Ray cluster: a node is taken away on notice, another one is added.

pytest tests/chaos/test_elastic.py
"""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from mlflow import MlflowClient

from adodn import settings
from infra.stack import StackInfo
from tests.chaos.nodes import CPUS, begin, calm, epoch_of, listed, node
from tests.processes import TIMEOUT_S
from tests.training_runs import losses, small_dataset, tracked, train_command, wait_until, worker_processes

pytestmark = pytest.mark.integration

CHANGES: dict[str, object] = {"train.precision": "fp64", "train.epochs": 12}


@pytest.fixture(scope="module")
def dataset_uri(stack: StackInfo) -> str:
    return small_dataset(num_train=192)


def sizes(outcome: dict[str, Any]) -> list[float]:
    """How many workers finished each epoch."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    history = client.get_metric_history(outcome["tracking_run_id"], "train/workers")
    return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]


def test_a_group_that_loses_and_gains_a_node_trains_the_same(
    stack: StackInfo, dataset_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults 30, 31: on notice there is a checkpoint at once, in mid-epoch; when the node is gone, one worker goes on,
    with no failure charged; when another node comes, there are two again. Losses and validation are those of one
    process that was never disturbed.
    """
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1")
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1")
    with node(stack.home) as first:
        process = begin(dataset_uri, "elastic", CHANGES, num_workers=2, min_workers=1, resize_s=5, max_failures=0)
        wait_until(lambda: first.workers() and epoch_of("elastic"), "an epoch of two workers")
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
    undisturbed = calm(dataset_uri, "elastic-calm", CHANGES)

    assert [size for size, before in zip(sizes(outcome), [0, *sizes(outcome)], strict=False) if size != before] == [
        2,
        1,
        2,
    ]
    assert losses(outcome) == pytest.approx(losses(undisturbed), rel=1e-9)
    assert outcome["val_nme"] == pytest.approx(undisturbed["val_nme"], rel=1e-9)
    assert outcome["epochs"] == CHANGES["train.epochs"] == len(sizes(outcome))
    assert len(tracked("elastic")) == 1


@pytest.mark.parametrize(
    ("more", "asked", "has"),
    [
        (["--cpus-per-worker", "64"], "64 CPU", f"{CPUS:g} CPU"),
        (["--gpu"], "1 CPU and 1 GPU", f"{CPUS:g} CPU, [01] GPU"),
    ],
    ids=["cpus", "gpu"],
)
def test_a_cluster_that_is_too_small_is_one_clear_error(
    stack: StackInfo, dataset_uri: str, more: list[str], asked: str, has: str
) -> None:
    """Faults 32, 59: after the time that it was given to grow, with what was asked for, what is there, and what to
    change. No run is begun on MLflow.
    """
    words = ["--workers", "2", "--wait-minutes", "0.05", *more]
    done = subprocess.run(
        train_command(dataset_uri, "too-large", *words), capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert done.returncode == 1
    assert f"waiting up to 0.1 minutes for room in the Ray cluster: 2 workers of {asked} each" in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert re.search(rf"asks for 2 workers of {asked} each, the Ray cluster has {has} on 1 nodes", error)
    assert "--wait-minutes" in error and "Traceback" not in done.stderr
    assert tracked("too-large") == []


def test_a_group_waits_no_longer_than_it_may(stack: StackInfo) -> None:
    """Fault 32: nodes that went away in the course of a training do not come back; Ray itself would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.waiting_group"], capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert "ResourcesError: the training asks for 1 workers of 64 CPU each" in done.stdout, done.stderr[-3000:]
    assert "no more came in 0.1 minutes" in done.stdout
