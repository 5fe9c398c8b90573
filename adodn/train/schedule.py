"""Learning rates: pure functions of the number of the step, and a count of plateaus.

    schedule = Schedule(optimiser, config.train, total_steps=epochs * steps)
    schedule.before_step(0)
    schedule.after_epoch(score)

Each group's rate is its `initial_lr` times one factor, the same for all groups.
"""

import math
from dataclasses import replace
from typing import TypedDict

import torch

from adodn.config import TrainConfig
from adodn.errors import ConfigError

_CLIMB = 0.3
"""Share of the steps in which one-cycle climbs, where `warmup_steps` does not say. These are torch's defaults."""
_START, _END = 1 / 25, 1 / 25e4
_MOMENTUM_LOW, _MOMENTUM_HIGH = 0.85, 0.95


class ScheduleState(TypedDict):
    """What a schedule must know to go on: nothing but what plateaus were seen."""

    best: float
    bad_epochs: int
    drops: int


class Schedule:
    """Sets learning rates, and in one-cycle the momentum, before each step.

    Args:
        optimiser: Its groups have an `initial_lr`.
        train: Says how.
        total_steps: Steps of all epochs.

    Raises:
        ConfigError: If training would end before it is warm.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, train: TrainConfig, total_steps: int) -> None:
        train = replace(
            train, warmup_steps=train.warmup_steps or train.warmup_epochs * total_steps // train.epochs, warmup_epochs=0
        )
        if train.warmup_steps >= total_steps:
            raise ConfigError(
                f"config field train.warmup_steps must be below the {total_steps} steps of all epochs, "
                f"got {train.warmup_steps!r}; train.warmup_epochs sets it where it is 0"
            )
        self._optimiser, self._train, self._total_steps = optimiser, train, total_steps
        self._state = ScheduleState(best=math.inf, bad_epochs=0, drops=0)

    def before_step(self, step: int) -> None:
        """Set what the optimiser's step of that number, from 0, is taken with."""
        factor = learning_rate_factor(self._train, step, self._total_steps)
        factor *= self._train.plateau_factor ** self._state["drops"]
        for group in self._optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
            if self._train.schedule == "one_cycle":
                _set_momentum(group, one_cycle_momentum(self._train, step, self._total_steps))

    def after_epoch(self, score: float) -> None:
        """Under `plateau`, drop the learning rate once more than `plateau_patience` epochs in a row brought no gain.

        Args:
            score: Of the validation; lower is better.
        """
        if self._train.schedule != "plateau":
            return
        if score < self._state["best"]:
            self._state |= {"best": score, "bad_epochs": 0}
            return
        self._state["bad_epochs"] += 1
        if self._state["bad_epochs"] > self._train.plateau_patience:
            self._state |= {"bad_epochs": 0, "drops": self._state["drops"] + 1}

    def state_dict(self) -> ScheduleState:
        """Numbers only."""
        return self._state.copy()

    def load_state_dict(self, state: ScheduleState) -> None:
        """Take over what `state_dict` gave."""
        self._state = state.copy()


def learning_rate_factor(train: TrainConfig, step: int, total_steps: int) -> float:
    """What the initial learning rate is multiplied with at a step, plateaus apart.

    Args:
        train: Says how.
        step: From 0.
        total_steps: Steps of all epochs.
    """
    if train.schedule == "one_cycle":
        climbed, annealed = _one_cycle_progress(train, step, total_steps)
        return _cosine(1.0, _END, annealed) if climbed == 1.0 else _cosine(_START, 1.0, climbed)
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    if train.schedule == "plateau":
        return 1.0
    falling = max(total_steps - 1 - train.warmup_steps, 1)
    return _cosine(1.0, train.final_learning_rate / train.learning_rate, (step - train.warmup_steps) / falling)


def one_cycle_momentum(train: TrainConfig, step: int, total_steps: int) -> float:
    """Momentum of `one_cycle` at a step: low where the learning rate is high (Smith & Topin, arXiv:1708.07120)."""
    climbed, annealed = _one_cycle_progress(train, step, total_steps)
    if climbed == 1.0:
        return _cosine(_MOMENTUM_LOW, _MOMENTUM_HIGH, annealed)
    return _cosine(_MOMENTUM_HIGH, _MOMENTUM_LOW, climbed)


def _one_cycle_progress(train: TrainConfig, step: int, total_steps: int) -> tuple[float, float]:
    """How much of the climb and of the way down is done, each 0 … 1."""
    top = float(train.warmup_steps or _CLIMB * total_steps) - 1
    if step <= top:
        return (step / top if top else 1.0), 0.0
    return 1.0, (step - top) / (total_steps - 1 - top)


def _cosine(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (math.cos(math.pi * progress) + 1)


def _set_momentum(group: dict[str, object], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])  # type: ignore[index]
    else:
        group["momentum"] = momentum
