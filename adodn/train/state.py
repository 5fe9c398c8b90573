"""All that changes while a model trains, and the optimiser and schedule that change it."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from adodn.config import ExperimentConfig, LossConfig, TrainConfig
from adodn.errors import CheckpointError
from adodn.models.cnt import Network
from adodn.models.low_rank import LowRankHead
from adodn.models.sepbn import SepBN2d

FORMAT = 1


@dataclass(kw_only=True)
class TrainState:
    """Everything a training needs to go on exactly where it stopped.

    `network` is the single-device model; `model` is what is called, `network` itself or a data-parallel wrapper of it.
    """

    config: ExperimentConfig
    network: Network
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    epoch: int = 0
    """Epochs that are finished."""
    step: int = 0
    """Optimiser steps that are done."""
    best_nme: float = float("inf")
    best_epoch: int = 0
    loader: dict[str, int | str] = field(default_factory=dict)
    """Where the loader stands; empty at the start of an epoch."""
    epoch_sums: dict[str, float] = field(default_factory=dict)
    """Sums of the unfinished epoch, so that resuming in its middle reports the whole of it."""

    @property
    def should_stop(self) -> bool:
        """Whether all epochs are done, or the last gain lies too far back."""
        train = self.config.train
        return self.epoch >= train.epochs or self.epoch - self.best_epoch >= train.early_stop_patience

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings only: readable with `weights_only=True`."""
        return {
            "format": FORMAT,
            "config": self.config.to_json(),
            "fingerprint": self.config.fingerprint(),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
            **{name: getattr(self, name) for name in _PROGRESS},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            CheckpointError: If it belongs to another experiment, or is of another format.
        """
        if saved.get("format") != FORMAT:
            raise CheckpointError(
                f"checkpoint format must be {FORMAT}, got {saved.get('format')!r}; train from the start"
            )
        mine = self.config.fingerprint()
        if saved["fingerprint"] != mine:
            raise CheckpointError(
                f"checkpoint is of experiment {saved['fingerprint']}, this is {mine}; choose another run name"
            )
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        torch.set_rng_state(saved["rng"])
        for name in _PROGRESS:
            setattr(self, name, saved[name])


_PROGRESS = ("epoch", "step", "best_nme", "best_epoch", "loader", "epoch_sums")


def build_state(config: ExperimentConfig, network: Network, model: nn.Module, steps: int) -> TrainState:
    """The state before the first step.

    Args:
        config: The experiment.
        network: The single-device model, on its device.
        model: The same or its data-parallel wrapper.
        steps: Steps of an epoch.
    """
    optimiser = torch.optim.Adam(
        decay_groups(network, config.loss), lr=config.train.learning_rate, fused=True, weight_decay=0.0
    )
    schedule = _schedule(optimiser, config.train, steps)
    return TrainState(config=config, network=network, model=model, optimiser=optimiser, schedule=schedule)


def decay_groups(network: nn.Module, loss: LossConfig) -> list[dict[str, Any]]:
    """Parameters by the squared Frobenius norm that Eq. 6 puts on them.

    The gradient of α‖W‖² is 2αW, which is Adam's coupled weight decay of 2α. Batch norms and biases carry none.
    """
    groups: dict[str, list[Tensor]] = {"matrix": [], "convolutions": [], "head": [], "free": []}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            groups[_group_of(module, name)].append(parameter)
    decays = {
        "matrix": loss.low_rank_decay,
        "convolutions": loss.convolution_decay,
        "head": loss.head_decay,
        "free": 0.0,
    }
    return [{"params": members, "weight_decay": 2 * decays[name]} for name, members in groups.items() if members]


def _group_of(module: nn.Module, name: str) -> str:
    if isinstance(module, LowRankHead):
        return "matrix"
    if name == "bias" or isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm, SepBN2d)):
        return "free"
    return "head" if isinstance(module, nn.Linear) else "convolutions"


def _schedule(optimiser: torch.optim.Optimizer, train: TrainConfig, steps: int) -> LRScheduler:
    if train.schedule == "one_cycle":
        return OneCycleLR(optimiser, train.learning_rate, total_steps=train.epochs * steps)
    plateau = ReduceLROnPlateau(
        optimiser, factor=train.plateau_factor, patience=train.plateau_patience, threshold=0.0, threshold_mode="abs"
    )
    return cast(LRScheduler, plateau)
