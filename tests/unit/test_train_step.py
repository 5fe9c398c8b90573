"""Updates of the weights: micro-batches, clipping, averaging, optimisers, frozen parts, divergence.

pytest tests/unit/test_train_step.py
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adodn.config import check_micro_batch
from adodn.errors import ConfigError, TrainingDivergedError
from adodn.train.loop import fit, validate
from adodn.train.optimiser import parameter_groups
from adodn.train.state import TrainState
from adodn.train.step import TERMS, train_step
from tests.memory_training import Faces, Hooked, small_batch, small_config, small_network, small_state

SGD: dict[str, object] = {"train.optimiser": "sgd", "train.learning_rate": 0.01}


def weights(state: TrainState) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.network.state_dict().items()}


def gradients(state: TrainState) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in state.network.named_parameters() if p.grad is not None}


def assert_close(mine: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(
            value, theirs[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("size", [2, 4, 6])
@pytest.mark.parametrize("switch", ["step", "sample"])
def test_micro_batches_compute_what_one_pass_computes(size: int, switch: str) -> None:
    """Losses, weights and running statistics agree to 1e-10 over steps with drop masks, parts of unequal size too."""
    config = small_config({"model.drop_warmup_epochs": 0, "model.switch": switch, "loss.nuclear_norm": 0.1, **SGD})
    whole, parted = small_state(config), small_state(config)

    for step in range(3):
        expected = train_step(whole, small_batch(8, step))
        measured = train_step(parted, small_batch(8, step), micro_batch=size)
        torch.testing.assert_close(measured, expected, rtol=1e-10, atol=1e-10)

    assert_close(weights(parted), weights(whole), 1e-10)
    assert parted.network.state_dict()["trunk.bn1.num_batches_tracked"] == 3


def test_a_micro_batch_holds_whole_runs_of_the_batch_norms() -> None:
    """Three faces at a time are refused where batch norms run over two, with one that does."""
    config = small_config()

    check_micro_batch(config, None)
    check_micro_batch(config, 4)
    with pytest.raises(ConfigError, match=r"multiple of model.batch_norm_faces 2, got 3; use 4"):
        check_micro_batch(config, 3)


def test_no_micro_batch_where_statistics_cover_the_whole_batch() -> None:
    """Synchronised norms would take theirs over a part of each worker's faces, which is another result."""
    config = small_config({"model.batch_norm": "synchronised"})

    check_micro_batch(config, None)
    with pytest.raises(ConfigError, match=r"got 4 with model.batch_norm 'synchronised'.*'virtual', or no micro-batch"):
        check_micro_batch(config, 4)


def test_a_long_gradient_is_shortened_and_a_short_one_is_not() -> None:
    """The update is that of the gradient times min(1, clip / (norm + 1e-6)), of all parameters together."""
    config = small_config({**SGD, "train.momentum": 0.0, "loss.convolution_decay": 0.0, "loss.head_decay": 0.0})
    config = config.with_fields({"loss.low_rank_decay": 0.0})
    free = small_state(config)
    before = weights(free)
    norm = float(train_step(free, small_batch(8))[TERMS.index("gradient_norm")])
    gradient = gradients(free)
    assert norm == pytest.approx(math.sqrt(sum(float(value.square().sum()) for value in gradient.values())))

    for clip in (norm / 3, norm * 3):
        clipped = small_state(config.with_fields({"train.gradient_clip": clip}))
        measured = train_step(clipped, small_batch(8))
        assert float(measured[TERMS.index("gradient_norm")]) == norm
        after = weights(clipped)
        for name, value in gradient.items():
            expected = before[name] - 0.01 * min(1.0, clip / (norm + 1e-6)) * value
            torch.testing.assert_close(after[name], expected, rtol=1e-12, atol=1e-14)


def test_sgd_is_the_textbook_s() -> None:
    """v ← 0.9 v + g + λw, w ← w - lr v, with λ 2α + weight_decay on convolutions and 0 on batch norms."""
    config = small_config({**SGD, "train.weight_decay": 5e-4})
    state = small_state(config)
    expected, velocity = weights(state), {}
    decay = {"trunk.patches.weight": 2e-5 + 5e-4, "trunk.bn1.weight": 0.0, "head.matrix": 2e-5 + 5e-4}

    for step in range(3):
        train_step(state, small_batch(8, step))
        for name, factor in decay.items():
            pull = gradients(state)[name] + factor * expected[name]
            velocity[name] = 0.9 * velocity[name] + pull if step else pull
            expected[name] = expected[name] - 0.01 * velocity[name]

    after = weights(state)
    for name in decay:
        torch.testing.assert_close(after[name], expected[name], rtol=1e-12, atol=1e-14)


def test_the_trunk_may_learn_at_a_rate_of_its_own() -> None:
    """Each parameter is in one group; the trunk's have its rate and all others the usual one."""
    config = small_config({"train.trunk_learning_rate": 1e-7})
    network = small_network(config)

    rate = {id(p): group["initial_lr"] for group in parameter_groups(network, config) for p in group["params"]}

    assert len(rate) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        assert rate[id(parameter)] == (1e-7 if name.startswith("trunk.") else 1e-3), name


def test_a_rate_for_a_frozen_trunk_is_refused() -> None:
    """It would silently do nothing."""
    with pytest.raises(ConfigError, match="trunk_learning_rate is 1e-07, but no parameter named trunk"):
        small_state(small_config({"train.trunk_learning_rate": 1e-7, "train.freeze": ["trunk."]}))


def test_the_average_follows_its_recursion() -> None:
    """a₁ = w₁, then a ← d a + (1 - d) w, running statistics alike; counters are the network's."""
    state = small_state(small_config({"train.ema_decay": 0.9}))
    expected: dict[str, Tensor] = {}

    for step in range(4):
        train_step(state, small_batch(8, step))
        now = weights(state)
        expected = {name: 0.9 * expected[name] + 0.1 * value if step else value for name, value in now.items()}
    expected |= {name: value for name, value in weights(state).items() if not value.is_floating_point()}

    assert state.result is not state.network
    assert_close(dict(state.result.state_dict()), expected, 1e-12)
    assert any(not torch.equal(value, expected[name]) for name, value in weights(state).items())


def test_the_average_is_what_is_measured_and_saved() -> None:
    """Validation equals that of a network with the averaged weights, and a checkpoint's `network` has them."""
    state, hooks = small_state(small_config({"train.ema_decay": 0.8})), Hooked()

    fit(state, Faces(3, 8), Faces(2, 8), hooks)

    other = small_state(small_config())
    raw = validate(replace(other, network=state.network), Faces(2, 8))
    other.network.load_state_dict(state.state_dict()["network"])
    assert validate(other, Faces(2, 8)) == hooks.metrics[-1]["val/nme@outer_eye_corners"] != raw


@pytest.mark.parametrize("prefix", ["trunk.", "trunk.bn1", "geometry.pathway_a"])
def test_frozen_parts_stay_as_they_are(prefix: str) -> None:
    """Weights and running statistics of what is frozen keep every bit, in one pass or several; all others move."""
    state = small_state(small_config({"train.freeze": [prefix], "train.weight_decay": 0.1}))
    before = weights(state)

    fit(state, Faces(3, 8), Faces(1, 8), Hooked(), micro_batch=2)

    after = weights(state)
    assert any(name.startswith(prefix) and "running_mean" in name for name in before)
    for name, value in before.items():
        assert torch.equal(after[name], value) == name.startswith(prefix), name


def test_freezing_nothing_is_refused() -> None:
    """A prefix without a match is named, with what there is."""
    with pytest.raises(ConfigError, match=r"none begins with 'trunc\.'; theirs begin with trunk\., "):
        small_state(small_config({"train.freeze": ["trunk.", "trunc."]}))


def test_freezing_everything_is_refused() -> None:
    """Nothing would be left to train."""
    parts = [name for name, _ in small_network(small_config()).named_children() if name != "downsample"]

    with pytest.raises(ConfigError, match="leaves nothing to train"):
        small_state(small_config({"train.freeze": parts}))


@pytest.mark.parametrize("value", [math.nan, 3e38])
@pytest.mark.parametrize("micro_batch", [None, 4])
def test_a_loss_that_is_not_finite_stops_before_the_update(value: float, micro_batch: int | None) -> None:
    """Also where its gradient is finite, as when a sum of distances overflows; the message names the step."""
    config = small_config({"train.precision": "fp32", "loss.regression": "smooth_l1"})
    state = small_state(config)
    train_step(state, small_batch(8))
    before = dict(state.network.named_parameters())
    before = {name: value.detach().clone() for name, value in before.items()}
    bad = small_batch(8)
    bad.landmarks[0] = value

    with pytest.raises(TrainingDivergedError, match=r"at step 1 \(epoch 0\) must be finite"):
        train_step(state, bad, micro_batch)

    assert state.step == 1
    assert all(torch.equal(p, before[name]) for name, p in state.network.named_parameters())
