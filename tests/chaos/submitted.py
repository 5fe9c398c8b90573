"""Trainings on a cluster of several machines: submitted as the flows do it, and looked at afterwards.

site = Site(made, dataset_uri)
site.submit("calm", 2, "STRICT_SPREAD")
site.outcome("calm"); site.losses("calm"); site.batches("calm")
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from torch import nn

from adodn import models, recipes
from adodn.train.checkpoint_index import INDEX
from tests.chaos.cluster import Cluster, wait_until

EPOCHS, STEPS = 4, 3


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
        command = ["tests.chaos.recorded", str(self._folder(name)), placement, "train"]
        command += ["--recipe", "adodn_smoke", "--dataset", self.dataset_uri, "--run-name", name]
        self.submit_module(name, [*command, "--workers", str(workers), "--json", *EXPERIMENT, *words])

    def submit_module(self, name: str, words: list[str]) -> None:
        """Begin a Ray job that runs a module."""
        self.made.jobs().submit_job(entrypoint=shlex.join([sys.executable, "-m", *words]), submission_id=name)

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
        return str(self.made.jobs().get_job_logs(name))

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
        (run_id,) = self.runs(name)
        history = self._mlflow().get_metric_history(run_id, "train/loss")
        return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]

    def runs(self, name: str) -> list[str]:
        """The runs on MLflow that have a name."""
        experiments = [experiment.experiment_id for experiment in self._mlflow().search_experiments()]
        found = self._mlflow().search_runs(experiments, f"attributes.run_name = '{name}'")
        return [run.info.run_id for run in found]

    def _mlflow(self) -> MlflowClient:
        return MlflowClient(self.made.settings().mlflow_tracking_uri)

    def checkpoints(self, name: str) -> int:
        """How many of a training lie on S3."""
        found = self.made.store().list(f"{self.made.settings().runs_uri}/{name}/")
        return sum(info.uri.endswith("state.pt") for info in found)

    def listed(self, name: str) -> dict[str, Any]:
        """A training's list of checkpoints; empty if it has none yet."""
        store, uri = self.made.store(), f"{self.made.settings().runs_uri}/{name}/{INDEX}"
        index: dict[str, Any] = json.loads(store.get(uri)) if store.exists(uri) else {}
        return index

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
"""ADODN in single precision with frozen batch norms. Plain gradient steps: Adam divides by gradients that are near
zero, and so magnifies the rounding of another order of summation a thousandfold within these steps."""
