"""Small trainings by the real command on a session's stack, and what they leave behind.

process = start(dataset_uri, "killed", "--checkpoint-steps", "2", *DOUBLE)
outcome = finished(process)
assert losses(outcome) == losses(calm)
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

from adodn import datasets, settings
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store
from infra import processes
from tests.processes import TIMEOUT_S

_T = TypeVar("_T")
FACES = {"num_train": 48, "num_val": 8, "num_common": 8, "num_challenging": 8, "size_px": 80}
EPOCHS = 2
DOUBLE = ("--set", "train.precision=fp64", "--set", f"train.epochs={EPOCHS}")
"""In fp32, training magnifies the rounding of another order of summation to a per cent within these few steps."""


def small_dataset(**changed: int) -> str:
    """Address of a small rendered dataset on the stack's S3."""
    places = settings.get()
    raw = datasets.open("synthetic", None, **{**FACES, **changed})
    uri, _ = shard_dataset(raw, S3Store.from_settings(places), places.datasets_uri, ImagePolicy())
    return uri


def train_command(dataset_uri: str, run_name: str, *words: str) -> list[str]:
    """The command as users type it."""
    command = [sys.executable, "-m", "adodn.cli", "train", "--recipe", "adodn_smoke", "--dataset", dataset_uri]
    return [*command, "--run-name", run_name, "--json", *words]


def start(dataset_uri: str, run_name: str, *words: str) -> subprocess.Popen[str]:
    """Begin a training."""
    return subprocess.Popen(
        train_command(dataset_uri, run_name, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background is born deaf to Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a training that must succeed says at its end."""
    out, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors[-3000:]
    assert "TrainingReport(" not in out + errors  # Ray's own line for each report
    outcome: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return outcome


def losses(outcome: dict[str, Any]) -> list[float]:
    """Of all epochs, from MLflow; an epoch that was logged twice is an error."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    history = client.get_metric_history(outcome["tracking_run_id"], "train/loss")
    assert len({metric.step for metric in history}) == len(history)
    return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]


def tracked(run_name: str) -> list[Run]:
    """The runs of that name on MLflow; a training has one, however often it was started."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("adodn")
    if experiment is None:  # nothing has been trained on this stack
        return []
    return list(client.search_runs([experiment.experiment_id], f"attributes.run_name = '{run_name}'"))


def worker_processes(home: Path) -> Iterator[psutil.Process]:
    """Ray Train's workers on a stack."""
    return ray_processes(home, "RayTrainWorker")


def ray_processes(home: Path, title: str) -> Iterator[psutil.Process]:
    """The processes of a stack's Ray whose title has that word."""
    for process in processes.marked(home, "ray"):
        try:
            if title in " ".join(process.cmdline()):
                yield process
        except psutil.Error:
            continue


def checkpoints(run_name: str) -> set[str]:
    """Addresses of a run's checkpoints."""
    store = S3Store.from_settings(settings.get())
    found = store.list(f"{settings.get().runs_uri}/{run_name}/")
    return {info.uri for info in found if info.uri.endswith("state.pt")}


def wait_until(holds: Callable[[], _T], what: str, poll_s: float = 0.2) -> _T:
    """Wait until something holds; answers what it answered."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S} s: {what}"
        time.sleep(poll_s)
    return found
