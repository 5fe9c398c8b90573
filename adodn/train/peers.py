"""The few collective operations that training needs, the same for one process and for many.

Gradients are not averaged here: the wrapped model does that.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

DATA_PARALLEL: dict[str, Any] = {
    "forward_sync_buffers": False,
    "gradient_as_bucket_view": True,
    "device_ids": None,
    "output_device": None,
}
"""How `DistributedDataParallel` wraps a network: running statistics are averaged by the loop, not sent by rank 0;
gradients lie where they are exchanged, which saves copying each of them there and back; inputs stay where a step put
them, of which Ray would have all moved to the GPU."""


def world_size() -> int:
    """Processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process among them; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_peers(values: Tensor) -> Tensor:
    """The element-wise sum over all processes."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


@torch.no_grad()
def average_over_peers(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in one exchange."""
    kept = list(tensors)
    if world_size() == 1 or not kept:
        return
    flat = torch.cat([tensor.flatten() for tensor in kept])
    dist.all_reduce(flat)
    flat /= world_size()
    for tensor, part in zip(kept, torch.split(flat, [tensor.numel() for tensor in kept]), strict=True):
        tensor.copy_(part.view_as(tensor))


def from_rank_zero(content: bytes | None) -> bytes | None:
    """What rank 0 has, on all processes, whatever the others pass."""
    if world_size() == 1:
        return content
    size = torch.tensor([-1 if content is None else len(content)])
    dist.broadcast(size, src=0)
    if size < 0:
        return None
    buffer = torch.empty(int(size), dtype=torch.uint8)
    if rank() == 0 and content:
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.broadcast(buffer, src=0)
    return buffer.numpy().tobytes()
