"""How a model gets on record, and becomes the challenger."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.exceptions import RestException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import Schema, TensorSpec

from adodn.config import ExperimentConfig
from adodn.evaluate import EvaluationReport
from adodn.model_files import CONFIG, WEIGHTS, write_model
from adodn.registry.evidence import kept_answer, kept_errors
from adodn.registry.moves import challenge
from adodn.registry.versions import ModelVersion, connect, resolve, result_tags, version_of
from adodn.tracking import reaching


def register(
    model: torch.nn.Module,
    config: ExperimentConfig,
    reports: Sequence[EvaluationReport],
    run_id: str,
    *,
    who: str | None = None,
    why: str = "trained",
) -> ModelVersion:
    """Put a model on record and make it the challenger. Its version is not there until all that it needs is.

    Args:
        model: Maps uint8 images `[B, 3, S, S]` to an object with `landmarks`; it is put into evaluation mode.
        config: What it was trained as.
        reports: Its evaluations; the gate compares them.
        run_id: The run that trained it.
        who: Whom the audit names; the user of this process where not given.
        why: What the audit says.

    Raises:
        ConfigError: If two reports have a figure of the same name.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    results = result_tags(reports)
    uri, client = connect()
    name = f"adodn-{config.model.protocol}"
    with reaching(uri, f"register {name!r}"):
        logged, hashes = _log_model(uri, model, config, run_id)
        evidence = {**kept_errors(name, reports), **kept_answer(model, config)}
        tags = {
            "weights_sha256": hashes[WEIGHTS],
            "config_sha256": hashes[CONFIG],
            "fingerprint": config.fingerprint(),
            "training_dataset_digest": config.data.dataset,
            **results,
            **evidence,
        }
        _ensure_registered_model(client, name)
        created = client.create_model_version(name, logged.model_uri, run_id, tags=tags, model_id=logged.model_id)
        version = version_of(created, tags)
    challenge(version, who=who, why=why)
    return version


def add_reports(name_or_uri: str, reports: Sequence[EvaluationReport]) -> None:
    """Keep further evaluations with a version, e.g. the champion's on a dataset that is new.

    Raises:
        ConfigError: If two reports have a figure of the same name.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = connect()
    with reaching(uri, f"add reports to {name_or_uri!r}"):
        version = resolve(client, name_or_uri)
        for key, value in {**result_tags(reports), **kept_errors(version.name, reports)}.items():
            client.set_model_version_tag(version.name, str(version.version), key, value)


class _LandmarksOnly(torch.nn.Module):
    """What is exported: one tensor in, one tensor out."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        landmarks: torch.Tensor = self.model(images).landmarks
        return landmarks


def _log_model(
    uri: str, model: torch.nn.Module, config: ExperimentConfig, run_id: str
) -> tuple[ModelInfo, dict[str, str]]:
    """Log graph, weights and config; what MLflow calls it, and the sha256 of each file."""
    side, landmarks = config.model.input_px, config.model.landmark_protocol.num_landmarks
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 3, side, side))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, landmarks, 2))]),
    )
    mlflow.set_tracking_uri(uri)
    with tempfile.TemporaryDirectory() as folder:
        hashes = write_model(Path(folder), model.state_dict(), config)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pytorch.log_model(
                _LandmarksOnly(model).eval(),
                name="model",
                signature=signature,
                # Two faces, because export takes a batch of one for a constant.
                input_example=np.zeros((2, 3, side, side), dtype=np.uint8),
                serialization_format="pt2",
                # Named, because finding them out runs the model in another process.
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
                extra_files=[str(Path(folder) / name) for name in hashes],
            )
    return logged, hashes


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except RestException:
        # There already, or made by another at the same moment, which a server on SQLite may call by other names.
        client.get_registered_model(name)
