"""A trained model as two files: `weights.safetensors` and `config.json`. Nothing in them can be executed.

write_model(folder, model.state_dict(), config)
state, config = read_model(folder)
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from adodn import models
from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError, ConfigError
from adodn.models import Network

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"


def write_model(folder: Path, state: Mapping[str, torch.Tensor], config: ExperimentConfig) -> dict[str, str]:
    """Write both files, each whole or not at all; the weights come last.

    Args:
        folder: Made where it is missing.
        state: The model's `state_dict`, from any device.
        config: What it was trained as.

    Returns:
        File name → sha256.
    """
    contents = file_contents(state, config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        aside = folder / f".{name}.{os.getpid()}"
        aside.write_bytes(content)
        aside.replace(folder / name)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def file_contents(state: Mapping[str, torch.Tensor], config: ExperimentConfig) -> dict[str, bytes]:
    """File name → content of both files, the weights last: equal models give equal bytes."""
    # A copy of each tensor, because safetensors refuses those that share memory.
    tensors = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    return {CONFIG: config.to_json().encode(), WEIGHTS: safetensors.torch.save(tensors)}


def build_network(config: ExperimentConfig, state: Mapping[str, torch.Tensor]) -> Network:
    """A network with these weights, in evaluation mode.

    Raises:
        CheckpointError: If the weights are of another network.
    """
    network = models.build_for(config)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"weights do not fit the model of experiment {config.name!r}: {error}") from error
    return network.eval()


def read_model(
    folder: Path, *, where: str | None = None, sha256: Mapping[str, str] | None = None
) -> tuple[dict[str, torch.Tensor], ExperimentConfig]:
    """Read both files.

    Args:
        folder: Holds them.
        where: What to call it in messages; the folder itself where not given.
        sha256: File name → the hash that it must have. Files that it does not name are not checked.

    Returns:
        The `state_dict`, on the CPU, and the config.

    Raises:
        CheckpointError: If a file is missing, is not what it should be, or has another hash.
    """
    where = where or str(folder)
    contents = {name: _read(folder / name, where) for name in (CONFIG, WEIGHTS)}
    for name, expected in (sha256 or {}).items():
        actual = hashlib.sha256(contents[name]).hexdigest()
        if actual != expected:
            raise CheckpointError(
                f"{where}: sha256 of {name} must be {expected}, got {actual}; the file was changed or cut: restore it, "
                f"or register the model again"
            )
    try:
        return safetensors.torch.load(contents[WEIGHTS]), ExperimentConfig.from_json(contents[CONFIG].decode())
    except (SafetensorError, ConfigError, ValueError) as cause:
        raise CheckpointError(f"{where}: not a model of this adodn: {cause}") from cause


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise CheckpointError(
            f"{where}: {path.name} cannot be read ({cause.strerror}); a model is a folder with {WEIGHTS} and {CONFIG}"
        ) from cause
