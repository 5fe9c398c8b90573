"""What steps measured, on its way from the device that computed it to the loop, and the check that it is finite.

    readings = Readings(lag=1)
    rows = readings.add(measured, step=7, epoch=0)      # those of step 6
    rows += readings.rest()                             # those of step 7

To read a value from a GPU is to wait for all the work that it was given before. So a GPU's values are copied aside as
their step ends and read when the next one is under way; a processor's are read at once.
"""

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from adodn.errors import TrainingDivergedError


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    """The values of a step, perhaps not here yet."""

    values: Tensor
    """`[T]`, on the host."""
    arrived: torch.cuda.Event | None
    step: int
    epoch: int

    def read(self) -> list[float]:
        if self.arrived is not None:
            self.arrived.synchronize()
        values: list[float] = self.values.tolist()
        require_finite(values, self.step, self.epoch)
        return values


class Readings:
    """The values of the latest steps, in the order of steps.

    Args:
        lag: Steps that are under way before a step's values are read: 0 on a processor, 1 on a GPU.
    """

    def __init__(self, lag: int) -> None:
        self.lag = lag
        self._under_way: deque[_Copy] = deque()

    def add(self, measured: Tensor, *, step: int, epoch: int) -> list[list[float]]:
        """Take the values of a step.

        Args:
            measured: `[T]` of `adodn.train.step.TERMS`.
            step: Its number, from 0.
            epoch: Of the step, from 0.

        Returns:
            The values of the steps that it is time to read.

        Raises:
            TrainingDivergedError: If the loss or gradient of one of those is not finite.
        """
        self._under_way.append(_copied(measured, step, epoch))
        return self._read(self.lag)

    def rest(self) -> list[list[float]]:
        """The values of all steps not read so far. Call it before a state is saved.

        Raises:
            TrainingDivergedError: If the loss or gradient of one of them is not finite.
        """
        return self._read(0)

    def _read(self, left: int) -> list[list[float]]:
        return [self._under_way.popleft().read() for _ in range(len(self._under_way) - left)]


def require_finite(values: list[float], step: int, epoch: int) -> None:
    """Refuse a step.

    Args:
        values: What it measured: the loss first, the norm of the gradient last.
        step: Its number, from 0.
        epoch: From 0.

    Raises:
        TrainingDivergedError: If the norm is not finite; that of a loss that is not finite never is.
    """
    loss, norm = values[0], values[-1]
    if not math.isfinite(norm):
        raise TrainingDivergedError(
            f"loss and gradient at step {step} (epoch {epoch}) must be finite on every worker, here the "
            f"loss is {loss!r} and the norm of all workers' gradient {norm!r}; lower train.learning_rate, set "
            f"train.gradient_clip, or use fp32. No weight was updated with it"
        )


def _copied(measured: Tensor, step: int, epoch: int) -> _Copy:
    if not measured.is_cuda:
        return _Copy(measured, None, step, epoch)
    host = torch.empty(measured.shape, dtype=measured.dtype, pin_memory=True)
    host.copy_(measured, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return _Copy(host, arrived, step, epoch)
