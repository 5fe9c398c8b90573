"""A model as MLflow keeps it: exported graph, weights, config and what serving tools need. It knows no registry.

logged = log_model(client, model, config, run_id)
logged.sha256["extra_files/weights.safetensors"]

Every file is hashed before it leaves this process, so that what the store then holds can be compared with it.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow.pytorch
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from adodn.config import ExperimentConfig
from adodn.model_files import write_model
from adodn.registry.files import digests_of

OWN_FILES = "extra_files"
"""Folder of the weights and the config in a logged model; the name is MLflow's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """A model in the artifact store."""

    model_id: str
    sha256: dict[str, str]
    """Path in the model's folder → hash, of every file."""

    @property
    def uri(self) -> str:
        """E.g. `models:/m-0a1b…`."""
        return f"models:/{self.model_id}"


def log_model(client: MlflowClient, model: torch.nn.Module, config: ExperimentConfig, run_id: str) -> Logged:
    """Put a model into the artifact store, as an output of the run that trained it.

    Args:
        client: Of the server.
        model: Maps uint8 images `[B, 3, S, S]` to an object with `landmarks`; it is put into evaluation mode.
        config: What it was trained as.
        run_id: The run that trained it.

    Raises:
        MlflowException: If the server refuses or cannot be reached.
        Exception: Whatever torch raises of a model that cannot be exported; MLflow then shows it as failed.
    """
    run = client.get_run(run_id)
    # In steps of our own, because `mlflow.pytorch.log_model` lets nobody see the files before they are sent.
    made = client.create_logged_model(
        run.info.experiment_id, name="model", source_run_id=run_id, params=dict(run.data.params)
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            _save(path, model, config, made)
            sha256 = digests_of(path)
            client.log_model_artifacts(made.model_id, str(path))
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    except BaseException:
        client.finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return Logged(model_id=made.model_id, sha256=sha256)


class _LandmarksOnly(torch.nn.Module):
    """What is exported: one tensor in, one tensor out."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        landmarks: torch.Tensor = self.model(images).landmarks
        return landmarks


def _save(path: Path, model: torch.nn.Module, config: ExperimentConfig, made: LoggedModel) -> None:
    side, landmarks = config.model.input_px, config.model.landmark_protocol.num_landmarks
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 3, side, side))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, landmarks, 2))]),
    )
    with tempfile.TemporaryDirectory() as folder:
        names = write_model(Path(folder), model.state_dict(), config)
        mlflow.pytorch.save_model(
            _LandmarksOnly(model).eval(),
            str(path),
            mlflow_model=Model(
                artifact_path=made.artifact_location,
                run_id=made.source_run_id,
                model_uuid=made.model_id,
                model_id=made.model_id,
            ),
            signature=signature,
            # Two faces, because export takes a batch of one for a constant.
            input_example=np.zeros((2, 3, side, side), dtype=np.uint8),
            serialization_format="pt2",
            # Named, because finding them out runs the model in another process.
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
            extra_files=[str(Path(folder) / name) for name in names],
        )
