"""A `TrainState` as a file: written whole or not at all, read without unpickling anything but tensors."""

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import torch

from adodn.errors import CheckpointError
from adodn.train.state import TrainState

FILE_NAME = "state.pt"


def save(state: TrainState, folder: Path) -> Path:
    """Write `folder/state.pt`: aside first, then renamed."""
    target = folder / FILE_NAME
    aside = target.with_suffix(".part")
    torch.save(state.state_dict(), aside)
    aside.replace(target)
    return target


def read(source: Path | BytesIO, where: str) -> dict[str, Any]:
    """What `save` wrote, as tensors, numbers and strings.

    Args:
        source: The file, or its content.
        where: Its address, for messages.

    Raises:
        CheckpointError: If the file is missing, cut, or holds anything else.
    """
    try:
        return cast(dict[str, Any], torch.load(source, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{where}: not a readable checkpoint: {error}; train again under a new run name"
        ) from error
