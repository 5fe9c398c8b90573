"""An exponential running average of a network while it trains (Polyak & Juditsky, 1992).

average = WeightAverage(network, decay=0.999)
average.update(network, step)       # after each optimiser step
average.network                     # what is measured and kept
"""

import copy
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """A second network: after the first step equal to the one that trains, then `decay` of itself and the rest of that.

    Running statistics are averaged like weights, so that they belong to the same mixture of steps; counters are copied.

    Args:
        network: The single-device model that trains.
        decay: Share that is left of the average at each step.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in the weights of a step.

        Args:
            network: The same model as ever, after its step.
            step: Steps that are done, this one included.
        """
        # Not from random weights on: their share would stay for long.
        decay = self._decay if step > 1 else 0.0
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        moving = [(mine, new) for mine, new in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in moving], [new for _, new in moving], 1.0 - decay)
        for mine, new in pairs:
            if not mine.is_floating_point():
                mine.copy_(new)


def _tensors(network: nn.Module) -> chain[Tensor]:
    return chain(network.parameters(), network.buffers())
