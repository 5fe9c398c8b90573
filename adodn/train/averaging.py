"""An exponential running average of a network while it trains (Polyak & Juditsky, 1992).

average = WeightAverage(network, decay=0.999)
average.update(network, step)       # after each optimiser step
average.network                     # what is measured and kept
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from adodn.models.batch_norm import running_buffers

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """A second network: after the first step equal to the one that trains, then `decay` of itself and the rest of that.

    Running statistics are averaged like weights, so that they belong to the same mixture of steps; other buffers
    are copied.

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
        torch._foreach_lerp_(_averaged(self.network), _averaged(network), 1.0 - decay)
        torch._foreach_copy_(_copied(self.network), _copied(network))


def _averaged(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *running_buffers(network)]


def _copied(network: nn.Module) -> list[Tensor]:
    """Counters, constants, and what a schedule sets, as SepBN's temperature."""
    running = {id(buffer) for buffer in running_buffers(network)}
    return [buffer for buffer in network.buffers() if id(buffer) not in running]
