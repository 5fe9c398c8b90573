"""Adaptive pooling whose gradient has equal bits from run to run on CUDA too, where that of torch's own has not.

    pooled = MeanPool2d(4)(features)

Cells are torch's: of a side n parted into t, number i reaches from ⌊i n / t⌋ to ⌈(i + 1) n / t⌉, so neighbours overlap
where t does not divide n. Values and gradients are those of `adaptive_avg_pool2d` to rounding, and of
`adaptive_max_pool2d` to the bit, by operations of which torch promises determinism.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MeanPool2d(nn.Module):
    """As `AdaptiveAvgPool2d(side)`."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, features: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, C, side, side]`."""
        return mean_pool(features, (self.side, self.side))


class MaxPool2d(nn.Module):
    """As `AdaptiveMaxPool2d(side)`."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, features: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, C, side, side]`."""
        return max_pool(features, self.side)


def mean_pool(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """The mean of each cell, `[B, C, H, W]` → `[B, C, *grid]`."""
    height, width = features.shape[-2:]
    down, across = grid
    if grid == (height, width):
        return features
    if grid == (1, 1):
        return features.mean((-2, -1), keepdim=True)
    shares = torch.kron(_shares(height, down, features), _shares(width, across, features))
    return _in_space(shares @ _by_place(features), down, across)


def max_pool(features: Tensor, side: int) -> Tensor:
    """The maximum of each cell, `[B, C, H, W]` → `[B, C, side, side]`; its gradient goes to the first that has it."""
    # Which places those are has no gradient; that of `gather` is deterministic where that of the pool itself is not.
    _, places = F.adaptive_max_pool2d(features.detach(), side, return_indices=True)
    return _in_space(_by_place(features).gather(1, _by_place(places)), side, side)


def _by_place(features: Tensor) -> Tensor:
    """`[B, C, H, W]` → `[B, H · W, C]`, a view where channels come last in memory, as in training."""
    return features.movedim(1, -1).flatten(1, 2)


def _in_space(by_place: Tensor, height: int, width: int) -> Tensor:
    """`[B, H · W, C]` → `[B, C, H, W]`."""
    return by_place.reshape(by_place.shape[0], height, width, -1).movedim(-1, 1)


def _shares(side: int, count: int, like: Tensor) -> Tensor:
    """What each of `side` places gives to the mean of each cell, `[count, side]`."""
    cells = torch.zeros(count, side, dtype=like.dtype, device=like.device)
    for number, cell in enumerate(cells):
        first, end = number * side // count, -(-(number + 1) * side // count)
        cell[first:end] = 1 / (end - first)
    return cells
