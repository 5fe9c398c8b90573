"""Training over several machines with addresses of their own, and what becomes of it when machines and cables fail.

One cluster for all tests: S3 and MLflow on one host, Ray's head on another, three hosts that train, token
authentication, gloo between hosts. See `hosts.py` for how machines are made; where that is not permitted, all is skipped.

pytest tests/chaos/test_multi_node.py
"""

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from torch import nn

from adodn import datasets, models, recipes
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from tests.chaos.cluster import Cluster, cluster, wait_until
from tests.chaos.hosts import network, not_permitted

FACES = {"num_train": 48, "num_val": 8, "num_common": 8, "num_challenging": 8, "size_px": 80}
EPOCHS, STEPS = 4, 3
CPUS = {"a": 2, "b": 1, "c": 1}


@dataclass(frozen=True, kw_only=True)
class Line:
    """What `recorded.py` writes for a batch of a worker."""

    pid: int
    node: str
    rank: int
    workers: int
    epoch: int
    step: int
    positions: list[int]
    keys: list[str]


@dataclass(frozen=True)
class Site:
    """The cluster, a dataset on it, and the trainings submitted to it."""

    made: Cluster
    dataset_uri: str

    def submit(self, name: str, workers: int, placement: str, *words: str) -> None:
        """Begin a training as the flows do: as a Ray job."""
        command = [sys.executable, "-m", "tests.chaos.recorded", str(self._folder(name)), placement, "train"]
        command += ["--recipe", "adodn_smoke", "--dataset", self.dataset_uri, "--run-name", name]
        command += ["--workers", str(workers), "--json", *EXPERIMENT, *words]
        job = self.made.jobs()
        job.submit_job(entrypoint=shlex.join(command), submission_id=name)

    def outcome(self, name: str) -> dict[str, Any]:
        """Of a training, once it is over; it must have come to its end."""
        assert self.ended(name) == "SUCCEEDED", self.log(name)[-6000:]
        found: dict[str, Any] = next(
            json.loads(line) for line in reversed(self.log(name).splitlines()) if line.startswith('{"checkpoint_uri"')
        )
        return found

    def ended(self, name: str) -> str:
        """The last state of a training's job."""
        wait_until(lambda: self.made.jobs().get_job_status(name).is_terminal(), f"the end of {name}")
        return str(self.made.jobs().get_job_status(name).value)

    def log(self, name: str) -> str:
        """What a training's job printed."""
        return self.made.jobs().get_job_logs(name)

    def lines(self, name: str) -> list[Line]:
        """The batches of a training, of all its workers."""
        files = self._folder(name).glob("*.jsonl")
        return [Line(**json.loads(line)) for file in files for line in file.read_text().splitlines()]

    def batches(self, name: str) -> dict[tuple[int, int], list[str]]:
        """(epoch, step) → the keys of the global batch, in order."""
        found: dict[tuple[int, int], dict[int, str]] = {}
        for line in self.lines(name):
            found.setdefault((line.epoch, line.step), {}).update(zip(line.positions, line.keys, strict=True))
        return {place: [keys[position] for position in sorted(keys)] for place, keys in sorted(found.items())}

    def losses(self, name: str) -> list[float]:
        """Of each epoch, from the one run on MLflow that has the name."""
        client = MlflowClient(self.made.settings().mlflow_tracking_uri)
        (run,) = client.search_runs(
            [client.get_experiment_by_name("adodn").experiment_id], f"attributes.run_name = '{name}'"
        )
        history = client.get_metric_history(run.info.run_id, "train/loss")
        return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]

    def checkpoints(self, name: str) -> int:
        """How many of a training lie on S3."""
        found = self.made.store().list(f"{self.made.settings().runs_uri}/{name}/")
        return sum(info.uri.endswith("state.pt") for info in found)

    def _folder(self, name: str) -> Path:
        return self.made.net.own.with_name("records") / name


def _batch_norms() -> list[str]:
    network = models.build_for(recipes.get("adodn_smoke"))
    return [f"{path}." for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]


EXPERIMENT = (
    *("--set", f"train.epochs={EPOCHS}"),
    *("--set", "train.precision=fp32"),
    *("--set", "train.optimiser=sgd"),
    *("--set", "train.learning_rate=1e-4"),
    *("--set", f"train.freeze={json.dumps(_batch_norms())}"),
)
"""ADODN in single precision with frozen batch norms. Plain gradient steps: Adam divides by gradients that are near zero,
and so magnifies the rounding of another order of summation a thousandfold within these steps."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The cluster, and a small rendered dataset on its S3."""
    if reason := not_permitted():
        pytest.skip(f"needs network namespaces: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="adodn-"))  # a short path: Ray's sockets lie in it
    try:
        with network(folder) as net, cluster(net, CPUS) as made:
            raw = datasets.open("synthetic", None, **FACES)
            uri, _ = shard_dataset(raw, made.store(), made.settings().datasets_uri, ImagePolicy())
            yield Site(made, uri)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trainings(site: Site) -> dict[int, str]:
    """Workers → name of an undisturbed training on a machine, on two, on three."""
    for name, workers, placement in (("one", 1, "PACK"), ("two", 2, "STRICT_SPREAD")):
        site.submit(name, workers, placement)
    for name in ("one", "two"):
        site.outcome(name)
    site.submit("four", 4, "SPREAD")
    site.outcome("four")
    return {1: "one", 2: "two", 4: "four"}


def test_workers_are_on_machines_of_their_own(site: Site, trainings: dict[int, str]) -> None:
    """Two workers on two machines, four on three, each machine with the address that it has."""
    addresses = {host.address for host in site.made.nodes.values()}
    machines = {workers: {line.rank: line.node for line in site.lines(trainings[workers])} for workers in trainings}

    assert {workers: len(ranks) for workers, ranks in machines.items()} == {1: 1, 2: 2, 4: 4}
    assert {workers: len(set(ranks.values())) for workers, ranks in machines.items()} == {1: 1, 2: 2, 4: 3}
    assert set(machines[4].values()) == addresses


def test_any_number_of_workers_sees_the_same_global_batches_in_the_same_order(
    site: Site, trainings: dict[int, str]
) -> None:
    """Face by face: 1, 2 and 4 workers are handed the same batches."""
    alone = site.batches(trainings[1])

    assert len(alone) == EPOCHS * STEPS
    assert all(len(keys) == 16 for keys in alone.values())
    assert site.batches(trainings[2]) == alone
    assert site.batches(trainings[4]) == alone


def test_losses_of_1_2_and_4_workers_agree_within_1e_5_in_fp32_with_frozen_batch_norm(
    site: Site, trainings: dict[int, str]
) -> None:
    """Over four epochs of three steps, on one, two and three machines."""
    alone = site.losses(trainings[1])

    assert len(alone) == EPOCHS
    assert len(set(alone)) == EPOCHS
    assert site.losses(trainings[2]) == pytest.approx(alone, rel=1e-5)
    assert site.losses(trainings[4]) == pytest.approx(alone, rel=1e-5)


def begin(site: Site, name: str, *words: str) -> dict[int, Line]:
    """Begin a training of two workers on two machines; when it has its first checkpoint, answers rank → a line of it."""
    site.submit(name, 2, "STRICT_SPREAD", "--checkpoint-steps", "2", *words)

    def has_checkpoint() -> bool:
        assert not site.made.jobs().get_job_status(name).is_terminal(), site.log(name)[-6000:]
        return site.checkpoints(name) > 0

    wait_until(has_checkpoint, f"a checkpoint of {name}")
    return {line.rank: line for line in site.lines(name)}


def assert_undisturbed(site: Site, name: str, trainings: dict[int, str]) -> None:
    """Other workers went on, with the same losses to the last bit, the same batches, and in the one run on MLflow."""
    assert len({line.pid for line in site.lines(name)}) > 2
    assert site.losses(name) == site.losses(trainings[2])
    assert site.batches(name) == site.batches(trainings[2])


def host_of(site: Site, address: str) -> str:
    """The name of the host with an address."""
    return next(name for name, host in site.made.nodes.items() if host.address == address)


def bring_back(site: Site, name: str) -> None:
    """Start a machine's Ray again, after all that is left on it has been killed."""
    site.made.nodes[name].power_off()
    site.made.add_node(name, CPUS[name])
    site.made.wait_for_nodes()


def test_fault_24_a_machine_dies(site: Site, trainings: dict[int, str]) -> None:
    """All on it is killed in mid-epoch: the training goes on on the machines that are left, with the same losses."""
    lost = host_of(site, begin(site, "machine-dies")[1].node)
    site.made.nodes[lost].power_off()

    site.outcome("machine-dies")

    assert_undisturbed(site, "machine-dies", trainings)
    assert site.made.nodes[lost].pids() == []
    bring_back(site, lost)


def test_fault_61_a_machine_is_cut_off(site: Site, trainings: dict[int, str]) -> None:
    """Its cable is pulled in mid-epoch: taken for lost, and replaced. Plugged in again, it ends what it still ran."""
    workers = begin(site, "cut-off")
    lost = host_of(site, workers[1].node)
    site.made.nodes[lost].cut()
    try:
        site.outcome("cut-off")
    finally:
        site.made.nodes[lost].mend()

    assert_undisturbed(site, "cut-off", trainings)
    wait_until(lambda: workers[1].pid not in site.made.nodes[lost].pids(), "the end of the worker that was cut off")
    bring_back(site, lost)


def test_fault_61_two_machines_lose_each_other(site: Site, trainings: dict[int, str]) -> None:
    """Both still reach the head, so only the exchange of gradients can tell: it fails, and is begun again."""
    workers = begin(site, "lose-each-other", "--hang-timeout", "20")
    one, other = (site.made.nodes[host_of(site, workers[rank].node)] for rank in (0, 1))
    one.lose(other)
    try:
        wait_until(
            lambda: not {worker.pid for worker in workers.values()} & {*one.pids(), *other.pids()}, "a new start"
        )
    finally:
        one.find(other)

    site.outcome("lose-each-other")

    assert_undisturbed(site, "lose-each-other", trainings)
