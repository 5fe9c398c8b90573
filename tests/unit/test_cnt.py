"""The cross-protocol network: each face through its own branch, and what stage 2 keeps of it.

pytest tests/unit/test_cnt.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adodn import models, protocols
from adodn.config import DataConfig, ExperimentConfig, LossConfig, ModelConfig, Source, TrainConfig
from adodn.errors import CheckpointError, ConfigError
from adodn.losses import loss_terms
from adodn.model_files import write_model
from adodn.models import CrossProtocolNet, SingleBranchNet
from adodn.models.cnt import single_branch_state
from adodn.predict import Predictor

MODEL = ModelConfig(
    head="cnt_branch",
    geometry="none",
    occlusion="none",
    low_rank=False,
    input_px=32,
    grid=1,
    hidden_width=8,
    branch_kernel=1,
    batch_norm_faces=2,
)
CONFIG = ExperimentConfig(
    name="two",
    model=MODEL,
    loss=LossConfig(regression="l1"),
    data=DataConfig(),
    train=TrainConfig(global_batch=4),
).on_sources(
    [Source(name="wide", dataset="b" * 64, protocol="68"), Source(name="narrow", dataset="a" * 64, protocol="29")]
)
"""Branch 0 has 29 landmarks, branch 1 has 68."""


@pytest.fixture(scope="module")
def network() -> CrossProtocolNet:
    torch.manual_seed(0)
    built = models.build_for(CONFIG)
    assert isinstance(built, CrossProtocolNet)
    return built


def faces(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("routes", [[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
def test_each_face_goes_through_its_own_branch(network: CrossProtocolNet, routes: list[int]) -> None:
    """In any mixture a face's landmarks are those of its protocol's ordinary network, and zeros up to the most."""
    network.eval()
    images = faces(4)
    with torch.inference_mode():
        found = network(images, torch.tensor(routes)).landmarks
    assert found.shape == (4, 68, 2)
    for number, name in enumerate(("29", "68")):
        single = models.build(replace(MODEL, protocol=name))
        single.load_state_dict(single_branch_state(network.state_dict(), number))
        single.eval()
        with torch.inference_mode():
            expected = single(images).landmarks
        own = torch.tensor(routes) == number
        torch.testing.assert_close(found[own][:, : expected.shape[1]], expected[own], rtol=1e-5, atol=1e-6)
        assert not found[own][:, expected.shape[1] :].any()


def test_outside_training_only_the_branches_present_are_computed(network: CrossProtocolNet) -> None:
    """A branch without faces is not called when there is no gradient to be had."""
    called: list[int] = []
    handles = [
        branch.register_forward_hook(lambda *_, number=number: called.append(number))
        for number, branch in enumerate(network.branches)
    ]
    network.eval()
    with torch.inference_mode():
        network(faces(2), torch.tensor([1, 1]))
    for handle in handles:
        handle.remove()
    assert called == [1]


def test_the_loss_is_the_mean_over_faces_through_their_own_branches(network: CrossProtocolNet) -> None:
    """L1 summed over each face's own landmarks, then the mean over all faces, whatever their protocols; by NumPy."""
    network.train()
    routes, target = torch.tensor([0, 1, 0, 0]), torch.rand(4, 68, 2)
    target[routes == 0, 29:] = 0
    predicted = network(faces(4), routes)
    loss = loss_terms(predicted, target, network, CONFIG.loss).total(CONFIG.loss)
    found, wanted = predicted.landmarks.detach().numpy(), target.numpy()
    of_faces = [
        sum(abs(found[i, j] - wanted[i, j]).sum() for j in range(68 if route else 29)) for i, route in enumerate(routes)
    ]
    assert loss.item() == pytest.approx(np.mean(of_faces), rel=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_absent_branch_has_the_gradient_zero(network: CrossProtocolNet, precision: torch.dtype) -> None:
    """Every parameter has a gradient; those of the branch that no face takes are exactly 0, others are not."""
    network.train()
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        landmarks = network(faces(4), torch.ones(4, dtype=torch.int64)).landmarks
    assert landmarks.dtype == torch.float32
    (landmarks - 0.4).abs().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()) == (not name.startswith("branches.0.")), name


def test_stage_two_keeps_trunk_and_branch_and_nothing_else(network: CrossProtocolNet) -> None:
    """The ordinary network's weights are stage 1's, bit by bit, running statistics included; the rest is dropped."""
    single = models.build(replace(MODEL, protocol="68"))
    assert isinstance(single, SingleBranchNet)
    single.load_state_dict(single_branch_state(network.state_dict(), 1))
    whole = network.state_dict()
    for name, value in single.state_dict().items():
        assert torch.equal(value, whole[name.replace("branch.", "branches.1.")]), name
    dropped = set(whole) - {name.replace("branch.", "branches.1.") for name in single.state_dict()}
    assert dropped and all(name.startswith("branches.0.") for name in dropped)


def test_a_branch_that_is_not_there_is_named(network: CrossProtocolNet) -> None:
    """Asking for a branch beyond the last is an error that says which."""
    with pytest.raises(CheckpointError, match="number 2"):
        single_branch_state(network.state_dict(), 2)


def test_the_ordinary_network_serves_predictions(tmp_path: Path, network: CrossProtocolNet) -> None:
    """Model files of stage 2 load and predict as those of any model."""
    config = ExperimentConfig(name="narrow", model=replace(MODEL, protocol="29"))
    write_model(tmp_path / "model", single_branch_state(network.state_dict(), 0), config)
    predictor = Predictor.load(tmp_path / "model")
    (face,) = predictor([faces(1)[0].permute(1, 2, 0).contiguous().numpy()], [(2.0, 2.0, 30.0, 30.0)])
    assert face.landmarks.shape == (29, 2) and np.isfinite(face.landmarks).all()


def test_a_branch_is_the_papers_table() -> None:
    """From 2 x 2 x 2048 features Table I's regressor: linear 8192 to 1024, leaky ReLU of slope 0.01, linear to 2L."""
    branch = models.cnt.Branch(2048, 98)
    hidden, relu, last = branch.head
    assert hidden.weight.shape == (1024, 8192)
    assert last.weight.shape == (196, 1024)
    assert relu.negative_slope == 0.01
    assert branch.conv.weight.shape == (2048, 2048, 3, 3)
    assert branch.relu.negative_slope == 0.01


def test_the_order_in_which_datasets_are_named_does_not_matter() -> None:
    """Fingerprint and branches are the same for any order; datasets of one protocol share a branch."""
    sources = [
        Source(name=name, dataset=name * 8, protocol=protocol)
        for name, protocol in (("x", "98"), ("y", "19"), ("z", "98"))
    ]
    base = ExperimentConfig(name="c", model=MODEL, train=TrainConfig(global_batch=4))
    one, other = base.on_sources(sources), base.on_sources(sources[::-1])
    assert one.fingerprint() == other.fingerprint() != base.fingerprint()
    assert one.branches == (protocols.get("19"), protocols.get("98"))
    assert ExperimentConfig.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    ("names", "match"), [([], "differ in name or protocol"), (["x", "x"], "differ in name or protocol")]
)
def test_datasets_that_cannot_be_told_apart_are_refused(names: list[str], match: str) -> None:
    """No dataset at all, or the same twice, is one clear error."""
    with pytest.raises(ConfigError, match=match):
        CONFIG.on_sources([Source(name=name, dataset=name, protocol="68") for name in names])


def test_modules_and_branches_do_not_mix() -> None:
    """A branch beside the modules, or sources for a network with modules, is refused."""
    with pytest.raises(ConfigError, match="regressor of its own"):
        ModelConfig(head="cnt_branch")
    with pytest.raises(ConfigError, match="cnt_branch"):
        ExperimentConfig(name="x").on_sources([Source(name="x", dataset="x", protocol="68")])
