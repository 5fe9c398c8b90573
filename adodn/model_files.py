"""A trained model as two files: `weights.safetensors` and `config.json`. Nothing in them can be executed.

    write_model(folder, model.state_dict(), config)
    state, config = read_model(folder)

A third, `origin.json`, says where an exported model came from; where it lies beside them, its hashes must be theirs.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import safetensors.torch
import torch
from safetensors import SafetensorError

from adodn import models
from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError, ConfigError
from adodn.model_origin import ORIGIN, ModelOrigin
from adodn.models import Network

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModelFiles:
    """What a folder of model files holds."""

    state: dict[str, torch.Tensor]
    """The `state_dict`, on the CPU."""
    config: ExperimentConfig
    sha256: dict[str, str]
    """File name → hash of the bytes that were read."""
    origin: ModelOrigin | None
    """Where it came from, if the folder says so."""


def write_model(folder: Path, state: Mapping[str, torch.Tensor], config: ExperimentConfig) -> dict[str, str]:
    """Write both files, each whole or not at all; the weights come last.

    Args:
        folder: Made where it is missing. What it says of another model's origin is deleted.
        state: The model's `state_dict`, from any device.
        config: What it was trained as.

    Returns:
        File name → sha256.
    """
    contents = file_contents(state, config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ORIGIN).unlink(missing_ok=True)
    for name, content in contents.items():
        aside = folder / f".{name}.{os.getpid()}"
        aside.write_bytes(content)
        aside.replace(folder / name)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that appears under its name only when the block ends well.

    Args:
        folder: Must not be there, or be empty.

    Raises:
        ConfigError: If it is there and not empty, or cannot be made.
    """
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise ConfigError(f"{folder}: is there already and not an empty folder; name one that is new")
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f".{folder.name}.{uuid4().hex}")
        aside.mkdir()
    except OSError as cause:
        raise ConfigError(f"{folder}: cannot be made ({cause.strerror}); name another folder") from cause
    try:
        yield aside
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"weights do not fit the model of experiment {config.name!r}: {error}") from error
    return network.eval()


def read_model(
    folder: Path, *, where: str | None = None, sha256: Mapping[str, str] | None = None
) -> tuple[dict[str, torch.Tensor], ExperimentConfig]:
    """Read both files, as `read_files` does.

    Returns:
        The `state_dict`, on the CPU, and the config.
    """
    files = read_files(folder, where=where, sha256=sha256)
    return files.state, files.config


def read_files(folder: Path, *, where: str | None = None, sha256: Mapping[str, str] | None = None) -> ModelFiles:
    """Read both files, and where they came from.

    Args:
        folder: Holds them.
        where: What to call it in messages; the folder itself where not given.
        sha256: File name → the hash that it must have, besides that of `origin.json`. Files that neither names are not
            checked.

    Raises:
        CheckpointError: If a file is missing, is not what it should be, or has another hash.
    """
    where = where or str(folder)
    contents = {name: _read(folder / name, where) for name in (CONFIG, WEIGHTS)}
    actual = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    origin = read_origin(folder, where)
    for claimed in (origin.sha256 if origin else {}, sha256 or {}):
        _check(actual, claimed, where)
    try:
        state = safetensors.torch.load(contents[WEIGHTS])
        config = ExperimentConfig.from_json(contents[CONFIG].decode())
    except (SafetensorError, ConfigError, ValueError) as cause:
        raise CheckpointError(f"{where}: not a model of this adodn: {cause}") from cause
    return ModelFiles(state=state, config=config, sha256=actual, origin=origin)


def read_origin(folder: Path, where: str) -> ModelOrigin | None:
    """What a folder says of where its model came from, if it does.

    Raises:
        CheckpointError: If what it says cannot be read.
    """
    path = folder / ORIGIN
    return ModelOrigin.from_json(_read(path, where), f"{where}/{ORIGIN}") if path.exists() else None


def _check(actual: Mapping[str, str], expected: Mapping[str, str], where: str) -> None:
    for name in sorted(actual.keys() & expected.keys()):
        if actual[name] != expected[name]:
            raise CheckpointError(
                f"{where}: sha256 of {name} must be {expected[name]}, got {actual[name]}; the file was changed or cut: "
                f"restore it, or register the model again"
            )


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise CheckpointError(
            f"{where}: {path.name} cannot be read ({cause.strerror}); a model is a folder with {WEIGHTS} and {CONFIG}"
        ) from cause
