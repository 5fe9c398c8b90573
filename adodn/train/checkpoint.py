"""A `TrainState` as bytes, read without unpickling anything but tensors.

content = to_bytes(snapshot(state))
saved = read(BytesIO(content), "s3://…/state.pt")
"""

import copy
import io
import pickle
from pathlib import Path
from typing import Any, cast

import torch

from adodn.errors import CheckpointError
from adodn.train.state import TrainState

FILE_NAME = "state.pt"


def snapshot(state: TrainState) -> dict[str, Any]:
    """The state as it is now, in memory of its own: training may go on while it is written."""
    return cast(dict[str, Any], _copied(state.state_dict()))


def to_bytes(saved: dict[str, Any]) -> bytes:
    """The content of a checkpoint's file."""
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return buffer.getvalue()


def read(source: Path | io.BytesIO, where: str) -> dict[str, Any]:
    """What `to_bytes` made, as tensors, numbers and strings.

    Args:
        source: The file, or its content.
        where: Its address, for messages.

    Raises:
        CheckpointError: If the file is missing, cut, or holds anything else.
    """
    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{where}: not a readable checkpoint: {error}; train again under a new run name"
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{where}: not a checkpoint of ours: {type(found).__name__}; train again under a new run name"
        )
    return found


def _copied(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        made = copy.copy(tree)  # with the versions of modules that a network's carries as an attribute
        made.update((name, _copied(value)) for name, value in tree.items())
        return made
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
