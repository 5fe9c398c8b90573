"""Training on a real Ray cluster: the number of workers changes nothing. What is killed on purpose is in tests/chaos.

pytest tests/integration/test_training.py
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from adodn import settings
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import ShardError
from adodn.protocols import get as get_protocol
from adodn.recipes import adodn_smoke
from adodn.train import alone
from adodn.train.loaders import on_data
from infra.stack import StackInfo
from tests.processes import TIMEOUT_S
from tests.training_runs import (
    DOUBLE,
    EPOCHS,
    checkpoints,
    finished,
    losses,
    small_dataset,
    start,
    tracked,
    train_command,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def dataset_uri(stack: StackInfo) -> str:
    """A small rendered dataset on the stack's S3."""
    return small_dataset()


@pytest.fixture(scope="module")
def undisturbed(dataset_uri: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a training with two workers comes to, and the same with one; begun together, as each waits much."""
    two, one = start(dataset_uri, "calm", *DOUBLE), start(dataset_uri, "alone", "--workers", "1", *DOUBLE)
    return finished(two), finished(one)


@pytest.fixture(scope="module")
def calm(undisturbed: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """What an undisturbed training with two workers comes to."""
    return undisturbed[0]


def test_one_worker_computes_what_two_compute(undisturbed: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Losses of all epochs, drop masks included, and the validation NME agree to rounding."""
    calm, alone = undisturbed

    assert len(losses(alone)) == EPOCHS
    assert losses(alone) == pytest.approx(losses(calm), rel=1e-9)
    assert alone["val_nme"] == pytest.approx(calm["val_nme"], rel=1e-9)


def test_one_process_alone_computes_what_ray_trains(
    dataset_uri: str, undisturbed: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """As trials of a search train: without Ray Train, to the last bit the same losses and validation."""
    manifest = read_manifest(S3Store.from_settings(settings.get()), dataset_uri)
    config = on_data(adodn_smoke().with_fields({"train.precision": "fp64", "train.epochs": EPOCHS}), [manifest])

    outcome = asdict(alone.train(config, [dataset_uri], run_name="in-process", places=settings.get()))

    assert losses(outcome) == losses(undisturbed[1])
    assert outcome["val_nme"] == undisturbed[1]["val_nme"]


def test_a_run_keeps_its_checkpoint_address_and_pictures(calm: dict[str, Any]) -> None:
    """MLflow shows where the best checkpoint lies, how training went, and what became of the low-rank matrix."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)

    assert client.get_run(calm["tracking_run_id"]).data.tags["checkpoint"] == calm["checkpoint_uri"]
    assert [file.path for file in client.list_artifacts(calm["tracking_run_id"], "training")] == [
        "training/history.png",
        "training/spectrum.png",
    ]


def test_a_run_shows_its_speed_and_its_machine(calm: dict[str, Any]) -> None:
    """Beside losses: throughput, the share of time that waits for data, and what the node was doing meanwhile."""
    metrics = MlflowClient(settings.get().mlflow_tracking_uri).get_run(calm["tracking_run_id"]).data.metrics

    assert metrics["train/faces_per_second"] > 0
    assert 0 <= metrics["train/data_wait_fraction"] < 1
    assert 0 <= metrics["system/node_0/cpu_utilization_percentage"] <= 100
    assert metrics["system/node_0/system_memory_usage_megabytes"] > 100


def test_a_finished_run_is_not_trained_again(dataset_uri: str, calm: dict[str, Any]) -> None:
    """The same name again answers the same outcome, from the same MLflow run."""
    assert finished(start(dataset_uri, "calm", *DOUBLE)) == calm


def test_a_run_name_belongs_to_one_experiment(dataset_uri: str, calm: dict[str, Any]) -> None:
    """Another experiment under a name that is taken is refused, with both fingerprints."""
    process = start(dataset_uri, "calm", "--set", "train.seed=5")
    _, errors = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 1
    assert "another run name" in errors


def test_mlflow_down_is_one_clear_error(dataset_uri: str) -> None:
    """Nothing is trained, the message names the address, and it comes within a minute."""
    environment = {**os.environ, "ADODN_MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    began = time.monotonic()

    done = subprocess.run(
        train_command(dataset_uri, "untracked"), env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "http://127.0.0.1:9" in done.stderr
    assert time.monotonic() - began < 90
    assert checkpoints("untracked") == set()


def test_an_unknown_recipe_is_one_clear_error(dataset_uri: str) -> None:
    """The message lists the recipes that exist."""
    command = [sys.executable, "-m", "adodn.cli", "train", "--recipe", "nope", "--dataset", dataset_uri]

    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown recipe 'nope'; available: adodn_300w")
    assert "Traceback" not in done.stderr


def test_what_no_restart_mends_is_one_error_at_once(stack: StackInfo) -> None:
    """A shard that is damaged on S3 ends the training at its first failure: one line, no traceback, no second try."""
    store, uri = S3Store.from_settings(settings.get()), small_dataset(seed=9)
    manifest = read_manifest(store, uri)
    damaged = f"{uri.removesuffix('/manifest.json')}/{manifest.splits['train'][0].name}"
    content = bytearray(store.get(damaged))
    content[len(content) // 2] ^= 1
    store.put(damaged, bytes(content))

    process = start(uri, "damaged", "--workers", "1")
    out, errors = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 1
    assert len(re.findall(rf"^error: {damaged}: must be .* shard the dataset again$", errors, re.MULTILINE)) == 1
    assert "Traceback" not in out + errors
    assert len(set(re.findall(r"RayTrainWorker pid=(\d+)", out + errors))) == 1
    (run,) = tracked("damaged")
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_shard_is_named(dataset_uri: str, tmp_path: Path, damage: str) -> None:
    """A flipped byte or a missing half on S3: one error with the shard's address, and nothing from it is used."""
    store = S3Store.from_settings(settings.get())
    manifest = read_manifest(store, dataset_uri)
    folder = dataset_uri.removesuffix("/manifest.json")
    entry = manifest.splits["val"][0]
    whole = store.get(f"{folder}/{entry.name}")
    middle = len(whole) // 2
    broken = whole[:middle] + (bytes([whole[middle] ^ 1]) + whole[middle + 1 :] if damage == "flipped" else b"")
    config = adodn_smoke()

    class Damaged:
        def get(self, uri: str) -> bytes:
            return broken if uri.endswith(entry.name) else store.get(uri)

    loader = ShardLoader(
        manifest=manifest,
        base_uri=folder,
        source=Damaged(),
        cache=ShardCache(tmp_path, 10**9),
        split="val",
        protocol=get_protocol("68"),
        data=config.data,
        input_px=64,
        global_batch=8,
        train=False,
    )
    with pytest.raises(ShardError, match=entry.name):
        next(iter(loader))
