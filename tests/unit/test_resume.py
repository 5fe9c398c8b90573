"""A training that is stopped and gone on with is the training that was never stopped, to the last bit.

pytest tests/unit/test_resume.py
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError
from adodn.train import checkpoint
from adodn.train.loop import fit
from adodn.train.state import TrainState
from tests.memory_training import Faces, Hooked, small_config, small_state

STEPS, EPOCHS = 3, 4
CASES: dict[str, dict[str, object]] = {
    "adam, plateau that drops": {"train.plateau_patience": 1, "train.warmup_steps": 2},
    "adam, one-cycle, bf16": {"train.schedule": "one_cycle", "train.precision": "bf16"},
    "sgd, cosine, warm-up": {
        "train.optimiser": "sgd",
        "train.schedule": "cosine",
        "train.warmup_steps": 4,
        "train.final_learning_rate": 5e-6,
        "train.weight_decay": 5e-4,
        "train.trunk_learning_rate": 1e-5,
    },
    "sgd, one-cycle": {"train.optimiser": "sgd", "train.schedule": "one_cycle", "train.momentum": 0.5},
    "average": {"train.ema_decay": 0.9, "train.precision": "fp32"},
    "average, frozen, clipped": {
        "train.ema_decay": 0.5,
        "train.freeze": ["trunk."],
        "train.gradient_clip": 0.01,
        "model.switch": "sample",
    },
}


def begun(config: ExperimentConfig) -> TrainState:
    """A training to whose plateaus no epoch brings a gain, whatever is learnt: no error is below 0."""
    state = small_state(config, STEPS)
    state.schedule.load_state_dict({"best": 0.0, "bad_epochs": 0, "drops": 0})
    return state


class Stopped(Exception):
    """Raised in place of a process that dies."""


def dying_after(step: int, folder: Path) -> Hooked:
    """Hooks that save the state after a step and end the training."""

    def after_step(state: TrainState) -> None:
        if state.step == step:
            (folder / checkpoint.FILE_NAME).write_bytes(checkpoint.to_bytes(checkpoint.snapshot(state)))
            raise Stopped

    return Hooked(after_step)


def outcome(state: TrainState, hooks: Hooked) -> dict[str, Any]:
    """All that a training comes to, but how fast it was."""
    return {**state.state_dict(), "metrics": hooks.results()}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal to the bit, all the way down."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}/{number}")
    else:
        assert one == other, where


@pytest.mark.parametrize("stop", [1, 5, 6, 9])
@pytest.mark.parametrize("case", CASES)
def test_going_on_changes_nothing(case: str, stop: int, tmp_path: Path) -> None:
    """Model, average, optimiser, schedule, random numbers, loader and metrics, in mid-epoch and at an epoch's end."""
    config = small_config({**CASES[case], "train.epochs": EPOCHS})
    calm, calm_hooks = begun(config), Hooked()
    fit(calm, Faces(STEPS, 8), Faces(2, 8), calm_hooks)
    with pytest.raises(Stopped):
        fit(begun(config), Faces(STEPS, 8), Faces(2, 8), dying_after(stop, tmp_path))
    torch.manual_seed(99)

    resumed, hooks = small_state(config, STEPS), Hooked()
    resumed.load_state_dict(checkpoint.read(tmp_path / checkpoint.FILE_NAME, "here"))
    fit(resumed, Faces(STEPS, 8), Faces(2, 8), hooks)

    calm_hooks.metrics = calm_hooks.metrics[-len(hooks.metrics) :]
    assert_same(outcome(resumed, hooks), outcome(calm, calm_hooks))
    assert resumed.step == STEPS * EPOCHS


def test_the_case_of_a_plateau_does_drop() -> None:
    """Else it would not show that drops are gone on with: every second epoch without gain is one too many."""
    config = small_config({**CASES["adam, plateau that drops"], "train.epochs": EPOCHS})
    state = begun(config)

    fit(state, Faces(STEPS, 8), Faces(2, 8), Hooked())

    assert state.schedule.state_dict()["drops"] == EPOCHS // 2


def test_a_checkpoint_of_another_experiment_is_refused() -> None:
    """An average that the experiment does not have, or lacks, is another experiment."""
    saved = small_state(small_config({"train.ema_decay": 0.9})).state_dict()

    with pytest.raises(CheckpointError, match="choose another run name"):
        small_state(small_config()).load_state_dict(saved)
