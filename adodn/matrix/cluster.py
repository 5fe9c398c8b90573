"""Cells of a matrix as tasks of Ray: with the training, the only place of the library that knows of Ray.

    connect(address)
    run_cells(cells, {model.digest: model.content}, done=print, cpus_per_cell=1)

Models travel through Ray's object store, each once; what comes of a cell goes to S3 from where it was made, so that it
is kept whatever becomes of the driver.
"""

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import ray
import torch

from adodn import settings
from adodn.errors import AdodnError, ConfigError
from adodn.matrix.cells import Cell, evaluate_cell

_LOOK_S = 0.5
"""How long a Ctrl-C may go unnoticed."""

Done = Callable[[Cell, str], None]
"""Told of a cell that is over, and of what went wrong, if anything did."""


def connect(address: str | None) -> None:
    """Join the Ray cluster at `address`, or the one whose job this is, or start one for this process alone."""
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)


def run_cells(
    cells: Sequence[Cell], models: Mapping[str, Mapping[str, bytes]], *, done: Done, cpus_per_cell: float
) -> None:
    """Evaluate cells on the Ray cluster at hand. One that fails does not stop the others.

    Args:
        cells: Which.
        models: Digest of a model → its files.
        done: Told of each cell that is over.
        cpus_per_cell: What each asks of the cluster.

    Raises:
        ConfigError: If the cluster cannot hold a cell.
        KeyboardInterrupt: At Ctrl-C, when all tasks are cancelled.
    """
    _check_room(cpus_per_cell)
    task = ray.remote(_evaluate).options(num_cpus=cpus_per_cell)
    stored = {digest: ray.put(dict(models[digest])) for digest in {cell.model_digest for cell in cells}}
    with _interruptible() as stopped:
        left = {task.remote(cell, stored[cell.model_digest], cpus_per_cell): cell for cell in cells}
        try:
            while left and not stopped.is_set():
                ready, _ = ray.wait(list(left), timeout=_LOOK_S)
                for reference in ready:
                    done(left.pop(reference), _outcome(reference))
        finally:
            for reference in left:
                ray.cancel(reference, force=True)
    if left:
        raise KeyboardInterrupt


def _evaluate(cell: Cell, content: Mapping[str, bytes], cpus: float) -> str:
    """The task: what went wrong, or nothing."""
    torch.set_num_threads(max(1, math.floor(cpus)))
    try:
        evaluate_cell(cell, content, settings.get())
    except AdodnError as error:
        return str(error)
    return ""


def _outcome(reference: object) -> str:
    try:
        return str(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        return f"{type(error.cause).__name__}: {error.cause}"
    except ray.exceptions.RayError as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"


def _check_room(cpus: float) -> None:
    there = ray.cluster_resources().get("CPU", 0)
    if there < cpus:
        raise ConfigError(f"a cell takes {cpus:g} CPU, the Ray cluster has {there:g}; ask for fewer, or add nodes")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """A flag that the first Ctrl-C sets, as an exception may be lost in a callback; the second ends the process."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
