"""A training whose processes are killed, stopped, starved or hung ends as if nothing had been, or can be gone on with.

pytest tests/chaos/test_training_faults.py

Losses of disturbed runs are those of the undisturbed one, to the last bit where as many workers train, else within
1e-9: a face that was lost or repeated would show.
Validation agrees to rounding: running statistics are averaged at each checkpoint, of which the calm run has fewer.
"""

import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from adodn import recipes, settings
from adodn.commands.train import parse_changes
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import AdodnError
from adodn.train import alone
from adodn.train.loaders import on_data
from infra import processes
from infra import stack as local_stack
from infra.stack import StackInfo
from tests.processes import TIMEOUT_S
from tests.training_runs import (
    DOUBLE,
    EPOCHS,
    checkpoints,
    finished,
    losses,
    ray_processes,
    small_dataset,
    start,
    tracked,
    wait_until,
    worker_processes,
)

pytestmark = pytest.mark.integration

OFTEN = (*DOUBLE, "--checkpoint-steps", "1", "--cpus-per-worker", "0.5")
ONE = (*OFTEN, "--workers", "1")


@pytest.fixture(scope="module")
def dataset_uri(stack: StackInfo) -> str:
    """A small rendered dataset on the stack's S3."""
    return small_dataset()


@pytest.fixture(scope="module")
def calm(dataset_uri: str) -> dict[str, Any]:
    """What an undisturbed training comes to."""
    return finished(start(dataset_uri, "calm", *DOUBLE))


def come_further(run_name: str, known: set[str]) -> set[str]:
    """Wait for a checkpoint that is not known; answers all."""
    return known | wait_until(lambda: checkpoints(run_name) - known, f"a new checkpoint of {run_name}")


def end_like(process: subprocess.Popen[str], run_name: str, calm: dict[str, Any], within: float = 0.0) -> None:
    """The training succeeds as the calm one did, as one run on MLflow."""
    outcome = finished(process)
    assert losses(outcome) == pytest.approx(losses(calm), rel=within, abs=0)
    assert outcome["val_nme"] == pytest.approx(calm["val_nme"], rel=1e-9)
    assert outcome["epochs"] == EPOCHS
    (run,) = tracked(run_name)
    assert (run.info.run_id, run.info.status) == (outcome["tracking_run_id"], "FINISHED")


def test_workers_that_die_or_raise_change_nothing(stack: StackInfo, dataset_uri: str, calm: dict[str, Any]) -> None:
    """One worker killed, all killed, and one that raises alone for want of file descriptors: three starts anew."""
    process = start(dataset_uri, "storm", *OFTEN)

    def starve(worker: psutil.Process) -> None:
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (4, 4))

    seen: set[str] = set()
    met: set[int] = set()
    for disturb, victims in ((psutil.Process.kill, 1), (psutil.Process.kill, 2), (starve, 1)):
        seen = come_further("storm", seen)
        workers = [worker for worker in worker_processes(stack.home) if worker.pid not in met]
        assert len(workers) == 2
        met |= {worker.pid for worker in workers}
        for worker in workers[:victims]:
            disturb(worker)

    end_like(process, "storm", calm)
    assert not list(worker_processes(stack.home))


def test_a_worker_that_hangs_is_given_up(stack: StackInfo, dataset_uri: str, calm: dict[str, Any]) -> None:
    """SIGSTOP: the others wait for it no longer than they were told."""
    process = start(dataset_uri, "hung", "--hang-timeout", "15", *OFTEN)
    come_further("hung", set())
    hung, _ = worker_processes(stack.home)
    hung.suspend()

    end_like(process, "hung", calm)
    assert not hung.is_running()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own on which no byte is left."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine permits no mounts: {mounted.stderr.strip()}")
    try:
        with suppress(OSError):
            (folder / "filler").write_bytes(bytes(1 << 20))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_full_disks_cost_no_training(
    dataset_uri: str, calm: dict[str, Any], full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for shards: they are served from memory. None for what goes to MLflow at the end: one error, and when
    there is room the same call ends what is trained already."""
    places = settings.get().model_copy(update={"cache_dir": full_disk / "cache"})
    manifest = read_manifest(S3Store.from_settings(places), dataset_uri)
    changes = parse_changes([word for word in DOUBLE if "=" in word])
    config = on_data(recipes.get("adodn_smoke").with_fields(changes), [manifest])
    train = partial(alone.train, config, [dataset_uri], run_name="full", places=places)

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(full_disk))
        with pytest.raises(AdodnError, match=r"No space left on device.*make room"):
            train()
    assert [run.info.status for run in tracked("full")] == ["FAILED"]

    outcome = asdict(train())
    assert losses(outcome) == pytest.approx(losses(calm), rel=1e-9)
    (run,) = tracked("full")
    assert run.info.status == "FINISHED"


def test_a_stopped_or_killed_command_goes_on(stack: StackInfo, dataset_uri: str, calm: dict[str, Any]) -> None:
    """SIGTERM and Ctrl-C twice, the controller killed, the command killed: each time the same command goes on."""
    process = start(dataset_uri, "stopped", *ONE)
    seen = come_further("stopped", set())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, errors[-2000:]
    said = "stopped; run 'stopped' goes on at its last checkpoint when the same command is given again"
    assert errors.splitlines().count(said) == 1
    assert "Traceback" not in errors
    wait_until(lambda: not list(worker_processes(stack.home)), "workers end with their driver")
    assert [run.info.status for run in tracked("stopped")] == ["KILLED"]

    process = start(dataset_uri, "stopped", *ONE)
    seen = come_further("stopped", seen)
    (controller,) = ray_processes(stack.home, "TrainController")
    controller.kill()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    (said,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "goes on at its last checkpoint" in said and "Traceback" not in errors
    wait_until(lambda: not list(worker_processes(stack.home)), "workers end with their controller")
    assert [run.info.status for run in tracked("stopped")] == ["FAILED"]

    process = start(dataset_uri, "stopped", *ONE)
    come_further("stopped", seen)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)
    wait_until(lambda: not list(worker_processes(stack.home)), "workers end with their driver")

    end_like(start(dataset_uri, "stopped", *ONE), "stopped", calm, within=1e-9)


def test_a_stack_that_was_ended_comes_back_and_goes_on(
    stack: StackInfo, dataset_uri: str, calm: dict[str, Any]
) -> None:
    """SIGTERM to all of its processes in mid-training, then `adodn up` and the same command."""
    process = start(dataset_uri, "ended", *ONE)
    come_further("ended", set())
    for one in processes.marked(stack.home):
        with suppress(psutil.Error):
            one.terminate()
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode != 0

    wait_until(lambda: not processes.marked(stack.home, "supervisor"), "the supervisor ends")
    local_stack.up(progress=lambda line: None)
    end_like(start(dataset_uri, "ended", *ONE), "ended", calm, within=1e-9)
