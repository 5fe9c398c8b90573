"""How a registered model is read back: by hash, and nothing is ever unpickled."""

import tempfile
from pathlib import Path

import mlflow
import torch

from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError
from adodn.model_files import CONFIG, WEIGHTS, read_model
from adodn.registry.versions import connect, resolve
from adodn.tracking import reaching


def load_state(name_or_uri: str) -> tuple[dict[str, torch.Tensor], ExperimentConfig]:
    """The weights and config of a registered model.

    Args:
        name_or_uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or `NAME` for its champion.

    Returns:
        The `state_dict`, on the CPU, and the config.

    Raises:
        CheckpointError: If a file does not have the hash that was recorded at registration.
        TrackingError: If the server refuses or cannot be reached, or has no such model.
    """
    uri, client = connect()
    with tempfile.TemporaryDirectory() as folder:
        with reaching(uri, f"load {name_or_uri!r}"):
            version = resolve(client, name_or_uri)
            files = mlflow.artifacts.download_artifacts(
                f"{version.uri}/extra_files", dst_path=folder, tracking_uri=uri, registry_uri=uri
            )
        missing = {"weights_sha256", "config_sha256"} - version.tags.keys()
        if missing:
            raise CheckpointError(f"{version.uri} on {uri} has no tag {sorted(missing)}; adodn did not register it")
        hashes = {WEIGHTS: version.tags["weights_sha256"], CONFIG: version.tags["config_sha256"]}
        return read_model(Path(files), where=f"{version.uri} on {uri}", sha256=hashes)
