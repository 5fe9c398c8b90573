"""A batch in several passes with the gradient and the running statistics of one pass.

    parts = split(batch, micro_batch)
    statistics = RunningStatistics(network)
    for part in parts:
        with statistics.of_part(len(part) / len(batch)):
            ...                     # forward and backward of `share * loss`
    statistics.write()

Losses are means over faces, so a part counts by its share of the faces. A regulariser in each part's loss thereby
counts once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import torch
from torch import nn

from adodn.models.batch_norm import running_buffers
from adodn.samples import Batch


def split(batch: Batch, micro_batch: int | None) -> list[Batch]:
    """Parts of at most `micro_batch` faces, in order; None: the batch as it is."""
    size = micro_batch or len(batch)
    return [_faces(batch, slice(start, start + size)) for start in range(0, len(batch), size)]


def _faces(batch: Batch, chosen: slice) -> Batch:
    return replace(batch, **{field.name: getattr(batch, field.name)[chosen] for field in fields(batch)})


class RunningStatistics:
    """Keeps running statistics as one pass over all parts would: every part begins where the first one began.

    A running statistic is linear in the statistics of a pass, so the mean of the parts' changes is what one pass
    changes. Counters count one pass.

    Args:
        network: The single-device model, in training.
    """

    def __init__(self, network: nn.Module) -> None:
        self._all = list(network.buffers())
        self._all_before = [buffer.clone() for buffer in self._all]
        self._running = list(running_buffers(network))
        self._before = [buffer.clone() for buffer in self._running]
        self._changes = [torch.zeros_like(buffer) for buffer in self._running]

    @contextmanager
    def of_part(self, share: float) -> Iterator[None]:
        """Around the pass over a part that has this share of all faces."""
        torch._foreach_copy_(self._all, self._all_before)
        yield
        torch._foreach_add_(self._changes, torch._foreach_sub(self._running, self._before), alpha=share)

    def write(self) -> None:
        """Give the network the statistics of all parts together."""
        # What did not change, as in frozen parts, stays the same to the bit.
        torch._foreach_copy_(self._running, torch._foreach_add(self._before, self._changes))
