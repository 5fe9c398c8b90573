"""Models and evaluations made by hand, and a registry that is empty before and after: registering without training.

with fresh_registry() as run_id:
    version = register(run_id, [0.05, 0.06])
    promote()
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from mlflow import MlflowClient

from adodn import protocols, registry, settings
from adodn.config import ExperimentConfig, ModelConfig
from adodn.data.store import S3Store
from adodn.evaluate import EvaluationReport, FaceErrors, report
from adodn.mlflow_server import client_of
from adodn.registry.aliases import ledger_of
from adodn.tracking import Tracker, params_of

NAME = "adodn-68"
CONFIG = ExperimentConfig(name="tiny", model=ModelConfig(input_px=64, geometry="none", occlusion="none"))
PLAIN = registry.Gate.parse({}, "test")
"""Errors alone: what the config says of the network is not built."""


@dataclass
class Answer:
    landmarks: torch.Tensor


class MeanColour(torch.nn.Module):
    """A model small enough to register many times: landmarks from the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 136)

    def forward(self, images: torch.Tensor) -> Answer:
        return Answer(self.linear(images.float().mean(dim=(2, 3)) / 255).view(-1, 68, 2))


def a_report(error: float, digest: str = "a" * 64, dataset: str = "rendered", faces: int = 2) -> EvaluationReport:
    """An evaluation in which every face has the same error; every other face is `easy`, the rest `hard`."""
    target = np.zeros((faces, 68, 2))
    target[:, 45, 0] = 1  # eyes one pixel apart, so that an error is an NME
    errors = FaceErrors(
        protocol=protocols.get("68"),
        normaliser="outer_eye_corners",
        keys=tuple(f"{number:03d}" for number in range(faces)),
        subsets=tuple((("easy", "hard")[number % 2],) for number in range(faces)),
        predicted=target + np.array([0, error]),
        target=target,
        visible=np.ones((faces, 68), dtype=np.bool_),
        boxes=np.array([[0.0, 0, 2, 2]] * faces),
    )
    return report(errors, dataset, digest, "outer_eye_corners")


@contextmanager
def fresh_registry() -> Iterator[str]:
    """The id of a training run, and a registry that holds no model."""
    tracker = Tracker(settings.get().mlflow_tracking_uri)
    _empty()
    yield tracker.start(CONFIG.run_name, fingerprint=CONFIG.fingerprint(), params=params_of(CONFIG))
    tracker.finish()
    _empty()


def client() -> MlflowClient:
    """Of the stack's MLflow server, wherever MLflow's globals point to."""
    return client_of(settings.get().mlflow_tracking_uri)


def register(run_id: str, error: float, digest: str = "a" * 64) -> registry.ModelVersion:
    """A version of that error."""
    return registry.register(MeanColour(), CONFIG, [a_report(error, digest)], run_id, who="ann", why="test")


def promote(why: str = "test", who: str = "ann", gate: registry.Gate = PLAIN) -> registry.Decision:
    """The challenger through a gate."""
    return registry.promote(registry.compare(NAME, gate), why=why, who=who)


def holder(alias: str = "champion") -> int | None:
    """Who has an alias on MLflow."""
    shown = client().get_registered_model(NAME).aliases
    return int(shown[alias]) if alias in shown else None


def actions() -> list[str]:
    """What the ledger has, whatever MLflow shows."""
    return [entry.action for entry in ledger_of(NAME).entries()]


def _empty() -> None:
    for model in client().search_registered_models(f"name = '{NAME}'"):
        client().delete_registered_model(model.name)
    places = settings.get()
    store = S3Store.from_settings(places)
    for entry in store.list(f"{places.registry_uri}/{NAME}"):
        store.delete(entry.uri)
