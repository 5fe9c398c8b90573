"""A matrix on a real cluster: killed, interrupted and started again, it evaluates no finished cell twice.

pytest tests/chaos/test_matrix_killed.py
"""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
import torch

from adodn import datasets, models, recipes, settings
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store
from adodn.model_files import write_model
from infra.stack import StackInfo
from tests.processes import TIMEOUT_S

pytestmark = pytest.mark.integration

CELLS = 8
FACES = {"num_train": 0, "num_val": 0, "num_common": 2, "num_challenging": 2, "size_px": 80}


@pytest.fixture(scope="module")
def command(stack: StackInfo, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two untrained models on two rendered datasets, one in 29 landmarks, plain and masked; a cell at a time."""
    places = settings.get()
    store, config = S3Store.from_settings(places), recipes.adodn_smoke()
    words = [sys.executable, "-m", "adodn.cli", "matrix", "--masked", "--json", "--cpus-per-cell", _all_cpus()]
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp(f"model{seed}")
        torch.manual_seed(seed)
        write_model(folder, models.build_for(config).state_dict(), config)
        words += ["--model", f"model{seed}={folder}"]
    raws = (
        datasets.open("synthetic", seed=7, **FACES),
        datasets.open("mapped", source="synthetic", protocol="29", **FACES),
    )
    for raw in raws:
        words += ["--dataset", shard_dataset(raw, store, places.datasets_uri, ImagePolicy())[0]]
    return words


def _all_cpus() -> str:
    """As many as the stack's cluster has, so that cells come one after another."""
    record = json.loads((settings.home() / "stack.json").read_text())
    return str(record["ray"]["num_cpus"])


def stopped_after_one(command: list[str], number: signal.Signals) -> tuple[int, str]:
    """A matrix that is sent a signal as soon as it has evaluated a cell; its exit code and all that it said."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.rstrip().endswith(": evaluated"):
            process.send_signal(number)
            break
    rest = process.stderr.read()
    return process.wait(TIMEOUT_S), "".join(said) + rest


def written() -> dict[str, str]:
    """Address of the errors of each finished cell → who wrote them: another evaluation would be another writer."""
    store, places = S3Store.from_settings(settings.get()), settings.get()
    addresses = [info.uri for info in store.list(places.evaluations_uri)]
    whole = {uri.rpartition("/")[0] for uri in addresses if uri.endswith("/figures.json")}
    heads = {uri: store.head(uri) for uri in addresses if uri.endswith(".npz") and uri.rpartition("/")[0] in whole}
    return {uri: head.metadata["put-id"] for uri, head in heads.items() if head is not None}


def test_no_finished_cell_is_evaluated_twice(command: list[str]) -> None:
    """Killed, then interrupted, then left alone: it comes to its end, each time from where it was."""
    code, said = stopped_after_one(command, signal.SIGKILL)
    assert code == -signal.SIGKILL, said[-3000:]
    killed = written()
    assert 0 < len(killed) < CELLS, said[-3000:]

    code, said = stopped_after_one(command, signal.SIGINT)
    assert code == 130, said[-3000:]
    assert said.rstrip().endswith("stopped; what is finished is kept, and the same command goes on from there")
    assert said.count("kept from before") >= len(killed)
    interrupted = written()
    assert len(killed) < len(interrupted) < CELLS and killed.items() <= interrupted.items()

    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    assert len(answer["cells"]) == CELLS == len(written()) and not answer["failed"]
    assert sum(cell["kept"] for cell in answer["cells"]) >= len(interrupted)
    assert interrupted.items() <= written().items()
    assert done.stderr.count(": evaluated") + done.stderr.count("kept from before") == CELLS
