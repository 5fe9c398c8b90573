"""All that changes while a model trains, to be saved and gone on from.

    state = build_state(config, network, wrapped, steps_of_an_epoch)
    state.load_state_dict(saved)

How optimiser, schedule and average change is in files of their own.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel, NonNegativeInt
from torch import Tensor, nn

from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError
from adodn.models.cnt import Network
from adodn.train.averaging import WeightAverage
from adodn.train.optimiser import build_optimiser
from adodn.train.readings import Readings
from adodn.train.schedule import Schedule, ScheduleState

FORMAT = 3


@dataclass(kw_only=True)
class TrainState:
    """Everything a training needs to go on exactly where it stopped.

    `network` is the single-device model; `model` is what is called, `network` itself or a data-parallel wrapper of it.
    """

    config: ExperimentConfig
    network: Network
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    steps_per_epoch: int
    average: WeightAverage[Network] | None = None
    """The running average of the weights, where the experiment asks for it."""
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
    epoch_steps: list[list[float]] = field(default_factory=list)
    """This worker's values of the latest steps, not yet in the sums."""
    readings: Readings = field(default_factory=lambda: Readings(lag=0))
    """Values of still later steps, which no checkpoint holds: all are read before one is taken."""

    @property
    def should_stop(self) -> bool:
        """Whether all epochs are done, or the last gain lies too far back."""
        train = self.config.train
        return self.epoch >= train.epochs or self.epoch - self.best_epoch >= train.early_stop_patience

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.config.train.epochs * self.steps_per_epoch

    @property
    def result(self) -> Network:
        """The model that is measured and kept: the average of the weights, or else the one that trains."""
        return self.average.network if self.average else self.network

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings only: readable with `weights_only=True`. `network` is the result."""
        return {
            "format": FORMAT,
            "config": self.config.to_json(),
            "fingerprint": self.config.fingerprint(),
            "network": self.result.state_dict(),
            "not_averaged": self.network.state_dict() if self.average else None,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
            **{name: getattr(self, name) for name in _PROGRESS},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            CheckpointError: If it belongs to another experiment, is of another format, or is no state of a training.
        """
        found = saved.get("format")
        if found != FORMAT:
            newer = isinstance(found, int) and found > FORMAT
            way_out = "it is of a newer version: update adodn" if newer else "train again under a new run name"
            raise CheckpointError(f"checkpoint format must be {FORMAT}, got {found!r}; {way_out}")
        mine = self.config.fingerprint()
        if (theirs := saved.get("fingerprint")) != mine:
            raise CheckpointError(f"checkpoint is of experiment {theirs}, this is {mine}; choose another run name")
        try:
            self._take_over(saved)
        except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:  # torch's and pydantic's
            problem = textwrap.shorten(f"{type(error).__name__}: {error}", _LONGEST)
            raise CheckpointError(
                f"checkpoint is not of a training as this one: {problem}; train again under a new run name"
            ) from error

    def _take_over(self, saved: Mapping[str, Any]) -> None:
        progress = _Progress.model_validate({name: saved[name] for name in _Progress.model_fields})
        self.result.load_state_dict(saved["network"])
        if self.average:
            self.network.load_state_dict(saved["not_averaged"])
        self.optimiser.load_state_dict(saved["optimiser"])
        _require_fitting(self.optimiser)
        self.schedule.load_state_dict(ScheduleState(**progress.schedule.model_dump()))  # type: ignore[typeddict-item]
        torch.set_rng_state(saved["rng"])
        for name in _PROGRESS:
            setattr(self, name, getattr(progress, name))


class _Plateaus(BaseModel, strict=True):
    """A `ScheduleState` from a file."""

    best: float
    bad_epochs: NonNegativeInt
    drops: NonNegativeInt


class _Progress(BaseModel, strict=True):
    """Numbers of a `TrainState` from a file."""

    epoch: NonNegativeInt
    step: NonNegativeInt
    best_nme: float
    best_epoch: NonNegativeInt
    loader: dict[str, int | str]
    epoch_sums: dict[str, float]
    epoch_steps: list[list[float]]
    schedule: _Plateaus


_PROGRESS = [name for name in _Progress.model_fields if name != "schedule"]
_LONGEST = 300


def _require_fitting(optimiser: torch.optim.Optimizer) -> None:
    """Refuse what torch takes over unseen, and would fail with at the first step.

    Raises:
        ValueError: If a moment is not of its weight's shape, or a learning rate is no number.
    """
    for weight, moments in optimiser.state.items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.ndim and moment.shape != weight.shape:
                raise ValueError(f"{name} of a weight {tuple(weight.shape)} has shape {tuple(moment.shape)}")
    for group in optimiser.param_groups:
        if not isinstance(group["initial_lr"], float):
            raise ValueError(f"initial_lr must be a number, got {group['initial_lr']!r}")


def build_state(config: ExperimentConfig, network: Network, model: nn.Module, steps: int) -> TrainState:
    """The state before the first step.

    Args:
        config: The experiment.
        network: The single-device model, on its device.
        model: The same or its data-parallel wrapper.
        steps: Steps of an epoch.

    Raises:
        ConfigError: If a setting of the optimiser or the schedule does not fit the network or the number of steps.
    """
    optimiser = build_optimiser(network, config)
    decay = config.train.ema_decay
    return TrainState(
        config=config,
        network=network,
        model=model,
        optimiser=optimiser,
        schedule=Schedule(optimiser, config.train, config.train.epochs * steps),
        steps_per_epoch=steps,
        average=WeightAverage(network, decay) if decay is not None else None,
        readings=Readings(lag=1 if next(network.parameters()).is_cuda else 0),
    )
