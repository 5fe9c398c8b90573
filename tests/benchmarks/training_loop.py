"""Our training loop and a bare one, on the same network, losses and batches.

    ours, bare = Ours(config, InMemory(batches)), Bare(config, batches)
    ours()          # an epoch
    bare()          # the same steps, as one writes them without this package

Pixels and landmarks of batches in memory are drawn at random.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from adodn import losses, models
from adodn.config import ExperimentConfig
from adodn.models import OcclusionAdaptiveNet
from adodn.samples import Batch
from adodn.train.loop import Batches, train_epoch
from adodn.train.optimiser import build_optimiser
from adodn.train.peers import world_size
from adodn.train.state import TrainState, build_state
from adodn.train.step import autocast
from tests.memory_training import Hooked, small_batch, wrapped

CPU = torch.device("cpu")


class InMemory:
    """A loader whose batches are ready.

    Args:
        batches: Of one epoch.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """All epochs are alike."""

    def state_dict(self) -> dict[str, int | str]:
        return {"epoch": 0, "step": 0, "seed": 0, "dataset": "", "global_batch": 0}

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """All epochs are alike."""


class Ours:
    """`train_epoch`, as `fit` calls it: schedule, norm, check, values of steps, loader's state and hooks included.

    Args:
        config: The experiment.
        loader: Its batches, this process's share.
        device: Where the network computes.
    """

    def __init__(self, config: ExperimentConfig, loader: Batches, device: torch.device = CPU) -> None:
        network = _network(config, device)
        self.state: TrainState = build_state(config, network, wrapped(network), steps=1000 * len(loader))
        self._loader, self._hooks = loader, Hooked()

    def __call__(self) -> dict[str, float]:
        """An epoch, always the first: its metrics."""
        self.state.loader, self.state.epoch_sums = {}, {}
        return train_epoch(self.state, self._loader, self._hooks)


class Bare:
    """The shortest loop that trains the same: forward, losses, backward, fused optimiser. It looks at nothing.

    Args:
        config: The experiment.
        batches: In memory.
        device: Where the network computes, and where the batches lie.
    """

    def __init__(self, config: ExperimentConfig, batches: Sequence[Batch], device: torch.device = CPU) -> None:
        self._config, self._device = config, device
        self.network = _network(config, device).train()
        self._optimiser = build_optimiser(self.network, config)
        self._batches = [
            (batch.images.to(device), batch.landmarks.to(device), torch.zeros(len(batch), dtype=torch.bool).to(device))
            for batch in batches
        ]

    def __call__(self) -> None:
        """An epoch."""
        for images, target, drop in self._batches:
            self._optimiser.zero_grad(set_to_none=True)
            with autocast(self._config.train.precision, self._device):
                prediction = self.network(images, drop)
            terms = losses.loss_terms(prediction, target, self.network, self._config.loss)
            terms.total(self._config.loss).backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()


def random_batches(config: ExperimentConfig, steps: int) -> list[Batch]:
    """This process's share of `steps` global batches."""
    faces, side = config.train.global_batch // world_size(), config.model.input_px
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (steps, faces, side, side, 3), dtype=torch.uint8, generator=draws)
    return [replace(small_batch(faces, seed), images=images[seed].permute(0, 3, 1, 2)) for seed in range(steps)]


def _network(config: ExperimentConfig, device: torch.device) -> OcclusionAdaptiveNet:
    torch.manual_seed(config.train.seed)
    network: Any = models.build(config.model)
    moved: nn.Module = network.to(device, memory_format=torch.channels_last)
    return cast(OcclusionAdaptiveNet, moved)
