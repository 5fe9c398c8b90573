"""How a registered model is read back: every file by its hash, and nothing is ever unpickled."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError
from adodn.mlflow_server import reaching
from adodn.model_files import CONFIG, WEIGHTS, ModelFiles, read_files
from adodn.model_origin import ModelOrigin
from adodn.registry.files import fetch_verified
from adodn.registry.logged import OWN_FILES
from adodn.registry.versions import ModelVersion, connect, resolve


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RegisteredModel:
    """A registered model on this machine, verified."""

    version: ModelVersion
    files: ModelFiles
    sha256: dict[str, str]
    """Path in the model's folder → hash, of every file."""
    folder: Path
    """All its files, as MLflow has them."""

    @property
    def own_folder(self) -> Path:
        """Weights and config."""
        return self.folder / OWN_FILES

    @property
    def origin(self) -> ModelOrigin:
        """What whoever uses the model should keep of it."""
        return ModelOrigin(
            source="registry",
            model=self.version.uri,
            run_id=self.version.run_id,
            fingerprint=self.files.config.fingerprint(),
            sha256=self.files.sha256,
        )


def load_state(name_or_uri: str) -> tuple[dict[str, torch.Tensor], ExperimentConfig]:
    """The weights and config of a registered model.

    Args:
        name_or_uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or `NAME` for its champion.

    Returns:
        The `state_dict`, on the CPU, and the config.

    Raises:
        CheckpointError: If any file of the model is not what was registered.
        TrackingError: If the server refuses or cannot be reached, or has no such model.
    """
    with fetched(name_or_uri) as model:
        return model.files.state, model.files.config


@contextmanager
def fetched(name_or_uri: str) -> Iterator[RegisteredModel]:
    """All files of a registered model in a folder that is there for the length of the block.

    Args:
        name_or_uri: As for `load_state`.

    Raises:
        CheckpointError: If a file is missing, was added or was changed since registration, the exported graph included.
        TrackingError: If the server refuses or cannot be reached, or has no such model.
    """
    uri, client = connect()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        with reaching(uri, f"load {name_or_uri!r}"):
            version = resolve(client, name_or_uri)
            location = client.get_model_version_download_uri(version.name, str(version.version))
            sha256 = fetch_verified(uri, version, location, folder)
        yield RegisteredModel(version=version, files=_own(version, uri, folder), sha256=sha256, folder=folder)


def _own(version: ModelVersion, uri: str, folder: Path) -> ModelFiles:
    missing = {"weights_sha256", "config_sha256"} - version.tags.keys()
    if missing:
        raise CheckpointError(f"{version.uri} on {uri} has no tag {sorted(missing)}; adodn did not register it")
    hashes = {WEIGHTS: version.tags["weights_sha256"], CONFIG: version.tags["config_sha256"]}
    return read_files(folder / OWN_FILES, where=f"{version.uri} on {uri}", sha256=hashes)
