"""Values of steps that are read a step late, as a GPU's are: the same training, and no weight is lost to a bad step.

pytest tests/unit/test_readings.py

Lateness needs no GPU; what does need one is in `test_gpu.py`.
"""

import math

import pytest
import torch

from adodn.errors import TrainingDivergedError
from adodn.train.loop import fit, synchronise
from adodn.train.readings import Readings
from adodn.train.state import TrainState
from adodn.train.step import train_step
from tests.memory_training import Faces, Hooked, small_batch, small_config, small_state

OPTIMISERS: dict[str, dict[str, object]] = {
    "adam": {"train.ema_decay": 0.9},
    "sgd": {"train.optimiser": "sgd", "train.learning_rate": 0.01, "train.gradient_clip": 0.5},
}


def late(state: TrainState) -> TrainState:
    """As on a GPU."""
    state.readings = Readings(lag=1)
    return state


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_late_readings_change_no_bit(optimiser: str) -> None:
    """Weights, optimiser and metrics are those of a training that reads at once."""
    config = small_config(OPTIMISERS[optimiser])
    trained = []
    for state in (small_state(config), late(small_state(config))):
        hooks = Hooked()
        fit(state, Faces(3, 8), Faces(2, 8), hooks)
        trained.append((state.network.state_dict(), state.optimiser.state_dict()["state"], hooks.results()))

    (weights, moments, metrics), (late_weights, late_moments, late_metrics) = trained
    assert metrics == late_metrics
    assert all(torch.equal(value, late_weights[name]) for name, value in weights.items())
    for number, kept in moments.items():
        assert all(torch.equal(value, late_moments[number][name]) for name, value in kept.items())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("value", [math.nan, 3e38])
def test_a_bad_step_moves_no_weight_and_is_told_before_a_checkpoint(optimiser: str, value: float) -> None:
    """The optimiser skips it, moments included; whoever is about to save the state meets the error first."""
    config = small_config({**OPTIMISERS[optimiser], "train.precision": "fp32", "loss.regression": "smooth_l1"})
    state = late(small_state(config))
    assert state.readings.add(train_step(state, small_batch(8)), step=0, epoch=0) == []
    before = [parameter.detach().clone() for parameter in state.network.parameters()]
    moments = [value.clone() for kept in state.optimiser.state.values() for value in kept.values()]
    bad = small_batch(8)
    bad.landmarks[0] = value

    [first] = state.readings.add(train_step(state, bad), step=1, epoch=0)

    assert all(map(math.isfinite, first))
    assert all(map(torch.equal, state.network.parameters(), before))
    assert all(map(torch.equal, (value for kept in state.optimiser.state.values() for value in kept.values()), moments))
    with pytest.raises(TrainingDivergedError, match=r"at step 1 \(epoch 0\) must be finite.*No weight was updated"):
        synchronise(state)


def test_a_bad_step_ends_an_epoch_that_goes_on() -> None:
    """One step later, by the loop itself, whatever that step comes to."""
    state = late(small_state(small_config({"train.precision": "fp32", "loss.regression": "smooth_l1"})))
    told: list[int] = []

    class Bad(Faces):
        def __iter__(self):  # type: ignore[no-untyped-def]
            for step, batch in enumerate(super().__iter__()):
                if step == 1:
                    batch.landmarks[0] = math.nan
                yield batch

    with pytest.raises(TrainingDivergedError, match=r"at step 1 \(epoch 0\)"):
        fit(state, Bad(5, 8), Faces(1, 8), Hooked(lambda state: told.append(state.step)))

    assert told == [1, 2]


def test_readings_come_in_the_order_of_steps() -> None:
    """With a lag of two, each step's values come two steps later, and the rest at the end."""
    readings = Readings(lag=2)
    rows = [readings.add(torch.tensor([float(step), 1.0]), step=step, epoch=0) for step in range(4)]

    assert rows == [[], [], [[0.0, 1.0]], [[1.0, 1.0]]]
    assert readings.rest() == [[2.0, 1.0], [3.0, 1.0]]
    assert readings.rest() == []
