"""SepBN against plain forms of its equations and torch's BatchNorm2d, and the converter on other people's networks.

pytest tests/unit/test_sepbn.py
"""

from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from adodn.config import SepBNConfig
from adodn.errors import ConfigError
from adodn.models.batch_norm import SynchronisedBatchNorm2d, VirtualBatchNorm2d, running_buffers
from adodn.models.conversion import block_ends, convert, everywhere, named
from adodn.models.resnext import Bottleneck, ResNeXt50
from adodn.models.sepbn import BruteForceSepBN2d, SepBN2d, anneal, branch_similarity, routed, temperature_at
from adodn.train.averaging import WeightAverage


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(module: nn.Module, seed: int = 1) -> nn.Module:
    """The module with all parameters and running statistics drawn at random, as after a training."""
    draws = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws, dtype=parameter.dtype)
    for buffer in running_buffers(module):
        buffer.copy_(torch.rand(buffer.shape, generator=draws, dtype=buffer.dtype) + 0.5)
    return module


@settings(max_examples=25, deadline=None)
@given(
    faces=st.integers(2, 5),
    channels=st.integers(1, 7),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    steps=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_one_branch_is_batch_norm_bit_by_bit(
    faces: int, channels: int, height: int, width: int, steps: int, seed: int
) -> None:
    """Value, gradients and running statistics, over some steps of training and in evaluation after them."""
    stock = nn.BatchNorm2d(channels)
    ours = SepBN2d(channels, num_branches=1, num_groups=1)
    for step in range(steps):
        answers = []
        for layer in (stock, ours):
            batch = features(faces, channels, height, width, seed=seed + step).requires_grad_()
            answer = layer(batch)
            answer.square().sum().backward()
            answers.append((answer, batch.grad, *(parameter.grad for parameter in layer.parameters())))
        assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))  # type: ignore[arg-type]
    for expected, buffer in zip(running_buffers(stock), running_buffers(ours), strict=True):
        assert torch.equal(expected, buffer)
    batch = features(faces, channels, height, width, seed=seed)
    assert torch.equal(stock.eval()(batch), ours.eval()(batch))


@pytest.mark.parametrize("training", [True, False])
def test_equations_5_to_7_by_loops(training: bool) -> None:
    """Softmax with temperature over the branches of each group, and every channel scaled and shifted by its mix."""
    layer = shaken(SepBN2d(6, num_branches=3, num_groups=2, pool_size=2)).train(training)
    layer.temperature = 2.5
    batch = features(4, 6, 5, 7)
    stock = nn.BatchNorm2d(6, affine=False).train(training)
    stock.load_state_dict(layer.norm.state_dict())
    conv, first, last = layer.attention.conv, layer.attention.mlp[0], layer.attention.mlp[2]  # type: ignore[union-attr]

    expected, normalised = torch.empty_like(batch), stock(batch)
    for n in range(4):
        pooled = nn.functional.adaptive_max_pool2d(batch[n], 2)
        groups = torch.stack([(conv.weight[g, :, 0, 0] @ pooled.flatten(1)) + conv.bias[g] for g in range(2)])
        inside = first.weight @ groups.flatten() + first.bias
        logits = last.weight @ torch.where(inside > 0, inside, 0.01 * inside) + last.bias
        for channel in range(6):
            group = channel // 3
            powers = (logits[3 * group : 3 * group + 3] / 2.5).exp()
            scale = sum(powers[k] / powers.sum() * layer.weight[k, channel] for k in range(3))
            shift = sum(powers[k] / powers.sum() * layer.bias[k, channel] for k in range(3))
            expected[n, channel] = scale * normalised[n, channel] + shift

    torch.testing.assert_close(layer(batch), expected, rtol=1e-4, atol=1e-5)


def test_attention_follows_the_temperature() -> None:
    """Weights are positive and sum to 1 over the branches; hot they are nearly even, cold nearly one of them."""
    layer = shaken(SepBN2d(8, num_branches=4)).eval()
    batch, spread = features(6, 8, 5, 5), {}
    for temperature in (1e-3, 1.0, 1e6):
        layer.temperature = temperature
        weights = layer.attend(batch)
        assert weights.shape == (6, 2, 4) and (weights >= 0).all()
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(6, 2))
        spread[temperature] = weights.amax(dim=2).mean().item()

    assert spread[1e-3] > 0.999 > spread[1.0] > spread[1e6]
    assert spread[1e6] == pytest.approx(0.25, abs=1e-3)


def test_hard_aggregation_takes_one_branch_and_teaches_the_attention_nothing() -> None:
    """Each group of channels is one batch norm with its heaviest branch; the attention's gradient is zero, not None."""
    layer = shaken(SepBN2d(4, num_branches=3, num_groups=2, aggregation="hard")).eval()
    soft = SepBN2d(4, num_branches=3, num_groups=2).eval()
    soft.load_state_dict(layer.state_dict())
    batch = features(5, 4, 3, 3)

    answer = layer(batch)
    answer.sum().backward()

    for n, g in ((n, g) for n in range(5) for g in range(2)):
        branch, channels = int(soft.attend(batch)[n, g].argmax()), slice(2 * g, 2 * g + 2)
        mean, variance = layer.norm.running_mean, layer.norm.running_var
        plain = nn.functional.batch_norm(batch, mean, variance, layer.weight[branch], layer.bias[branch])
        torch.testing.assert_close(answer[n, channels], plain[n, channels])
    assert layer.attention is not None
    for parameter in layer.attention.parameters():
        assert parameter.grad is not None and not parameter.grad.any()


def test_soft_attention_learns() -> None:
    """All parameters, those of the attention too, get a gradient once the branches differ."""
    layer = shaken(SepBN2d(4))
    layer(features(6, 4, 5, 5)).square().sum().backward()

    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in layer.parameters())


def test_gradient_is_that_of_finite_differences() -> None:
    """In fp64, of the input and of every parameter, through normalisation and attention."""
    layer = shaken(SepBN2d(4, num_branches=2, pool_size=2).double())
    names = [name for name, _ in layer.named_parameters()]

    def call(batch: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (batch,))

    batch = features(3, 4, 3, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(call, (batch, *layer.parameters()))


@pytest.mark.parametrize("faces", [2, 4])
def test_statistics_over_virtual_batches(faces: int) -> None:
    """On a VirtualBatchNorm2d, a batch of runs gives what each run alone gives, and the mean of their statistics."""
    whole = shaken(SepBN2d(4, norm=VirtualBatchNorm2d(4, faces=faces)))
    alone = [SepBN2d(4) for _ in range(8 // faces)]
    for layer in alone:
        layer.load_state_dict(whole.state_dict())
    batch = features(8, 4, 5, 5)

    answer = whole(batch)

    runs = [layer(run) for layer, run in zip(alone, batch.split(faces), strict=True)]
    torch.testing.assert_close(answer, torch.cat(runs))
    for mine, *theirs in zip(running_buffers(whole), *(running_buffers(layer) for layer in alone), strict=True):
        torch.testing.assert_close(mine, torch.stack(theirs).mean(0))


def test_bf16_keeps_its_type_and_its_digits() -> None:
    """Under autocast a bf16 map stays bf16, and differs from fp32 by rounding alone."""
    layer = shaken(SepBN2d(4)).eval()
    batch = features(4, 4, 6, 6).bfloat16()

    with torch.autocast("cpu", torch.bfloat16):
        half = layer(batch)

    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer(batch.float()), rtol=0.03, atol=0.03)


@pytest.mark.parametrize(("branches", "groups", "pool"), [(0, 1, 1), (3, 0, 1), (3, 2, 0), (3, 5, 3)])
def test_sizes_that_do_not_fit_are_refused(branches: int, groups: int, pool: int) -> None:
    """Nothing below 1, and groups that divide the channels: the message names the channels and the figures."""
    with pytest.raises(ConfigError, match=rf"divide the 8 channels, got {branches}, {groups} and {pool}"):
        SepBN2d(8, branches, groups, pool)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(value: float) -> None:
    """It must be positive, and the layer keeps the one it has."""
    layer = SepBN2d(4)
    with pytest.raises(ConfigError, match="must be positive"):
        layer.temperature = value
    assert layer.temperature == 1


@settings(max_examples=50, deadline=None)
@given(start=st.floats(1, 100), epochs=st.integers(1, 60), epoch=st.integers(0, 200))
def test_temperature_is_linear_to_one(start: float, epochs: int, epoch: int) -> None:
    """The first epoch has the start, the last of the annealing and all later ones 1, those between a straight line."""
    steps = [temperature_at(e, start, epochs) for e in range(epochs)]

    assert steps[-1] == 1 == temperature_at(epochs + epoch, start, epochs)
    if epochs > 1:
        assert steps[0] == start
        differences = torch.tensor(steps, dtype=torch.float64).diff()
        torch.testing.assert_close(differences, differences[:1].expand_as(differences), rtol=1e-6, atol=1e-9)


def test_the_papers_temperatures_are_30_to_1() -> None:
    """30, 29, …, 1 in the first 30 epochs, 1 in those after."""
    assert [temperature_at(epoch) for epoch in range(32)] == [*map(float, range(30, 0, -1)), 1, 1]


def test_brute_force_is_one_batch_norm_a_domain() -> None:
    """Faces, mixed in a batch, come out as if each domain's faces had gone through its own batch norm alone."""
    layer = shaken(BruteForceSepBN2d(4, 3)).train()
    stock = [nn.BatchNorm2d(4) for _ in range(3)]
    for mine, branch in zip(layer.norms, stock, strict=True):
        branch.load_state_dict(mine.state_dict())
    batch, domains = features(7, 4, 3, 3), torch.tensor([2, 0, 2, 0, 0, 2, 2])  # none of domain 1

    with routed(layer, domains):
        answer = layer(batch)
    answer.square().sum().backward()

    for domain in (0, 2):
        torch.testing.assert_close(answer[domains == domain], stock[domain](batch[domains == domain]))
    for mine, branch in zip(layer.norms, stock, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(running_buffers(mine), running_buffers(branch), strict=True))
    absent = layer.norms[1]
    assert all(p.grad is not None and not p.grad.any() for p in absent.parameters())
    with pytest.raises(ValueError, match="call it inside `routed`"):
        layer(batch)


def test_branch_similarity_is_the_mean_cosine_of_pairs() -> None:
    """Eq. 2 on three rows, by hand: cosines 0, 1/√2 and 1/√2."""
    rows = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    assert float(branch_similarity(rows)) == pytest.approx(2 / 3 * 0.5**0.5)


class Peer(nn.Module):
    """Somebody else's network, with batch norms at several depths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.block = nn.ModuleDict({"conv": nn.Conv2d(6, 4, 1), "bn3": nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)})

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.block["bn3"](self.block["conv"](self.stem(images)))
        return answer


def to_sepbn(norm: Any) -> nn.Module:
    return SepBN2d(norm.num_features, norm=norm)


def to_brute_force(norm: Any) -> nn.Module:
    return BruteForceSepBN2d(norm.num_features, 3, norm=norm)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("place", "count"), [(everywhere, 2), (named("bn3"), 1)])
def test_a_converted_network_starts_as_the_same_function(place: Any, count: int, training: bool) -> None:
    """Values and next running statistics are the original's, whatever the attention says, ε and momentum included."""
    original, converted = (shaken(Peer()).train(training) for _ in range(2))
    convert(converted, to_sepbn, place)
    assert sum(isinstance(module, SepBN2d) for module in converted.modules()) == count
    assert all(module.training == training for module in converted.modules() if isinstance(module, SepBN2d))
    images = features(4, 3, 9, 9)

    torch.testing.assert_close(converted(images), original(images), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(running_buffers(converted), running_buffers(original), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_brute_force_converted_starts_as_the_same_function() -> None:
    """In evaluation every domain's branch is the batch norm that was there."""
    original, converted = (shaken(Peer()).eval() for _ in range(2))
    convert(converted, to_brute_force)
    images = features(4, 3, 9, 9)
    with routed(converted, torch.tensor([0, 1, 2, 1])):
        torch.testing.assert_close(converted(images), original(images))


def test_conversion_leaves_what_is_converted() -> None:
    """A second conversion finds no batch norm, and says so; a bare batch norm is converted itself."""
    network = convert(Peer(), to_sepbn)
    with pytest.raises(ConfigError, match="no batch norm of Peer"):
        convert(network, to_sepbn)
    assert isinstance(convert(nn.BatchNorm2d(4), to_sepbn), SepBN2d)


def test_bn3_of_every_bottleneck() -> None:
    """In ResNeXt-50 `block_ends` names the 16 third batch norms, as `named` does, and no other is touched."""
    with torch.device("meta"):
        network = ResNeXt50(nn.BatchNorm2d)
    wanted = {f"{name}.bn3" for name, module in network.named_modules() if isinstance(module, Bottleneck)}
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]

    assert len(wanted) == 16
    assert {name for name in norms if block_ends(network)(name)} == wanted
    assert {name for name in norms if named("bn3")(name)} == wanted


def test_a_plain_batch_norms_weights_load() -> None:
    """Scale and shift go to every branch, statistics to the normalisation; nothing is missing but the attention."""
    stock = shaken(nn.BatchNorm2d(4))
    for branches in (1, 3):
        layer = SepBN2d(4, branches)
        result = layer.load_state_dict(stock.state_dict(), strict=False)
        assert result.unexpected_keys == []
        assert all(name.startswith(("attention.", "softmax_")) for name in result.missing_keys)
        batch = features(3, 4, 4, 4)
        torch.testing.assert_close(layer.eval()(batch), stock.eval()(batch))


def test_an_average_of_weights_has_the_temperature_of_the_epoch() -> None:
    """The schedule sets it; a mean of the epochs' is none that the layer was trained with."""
    network = nn.Sequential(SepBN2d(4))
    average = WeightAverage(network, decay=0.9)
    for epoch, expected in enumerate((9.0, 5.0, 1.0)):
        anneal(network, SepBNConfig(temperature=9, temperature_epochs=3), epoch)
        average.update(network, epoch + 1)

        assert cast(SepBN2d, average.network[0]).temperature == expected


def test_synchronised_norm_evaluates_anywhere_and_trains_on_cuda_alone() -> None:
    """On a CPU it can be built, converted and evaluated; training is refused with the way out."""
    network = shaken(Peer())
    synchronised = convert(shaken(Peer()), lambda norm: _synchronised(norm))
    convert(synchronised, to_sepbn)
    images = features(4, 3, 9, 9)

    torch.testing.assert_close(synchronised.eval()(images), network.eval()(images), rtol=1e-5, atol=1e-5)
    assert len(list(running_buffers(synchronised))) == 4
    with pytest.raises(ConfigError, match=r"needs CUDA to train.*or use 'virtual'"):
        synchronised.train()(images)


def test_torch_converts_sepbn_to_its_synchronised_norm() -> None:
    """`convert_sync_batchnorm` reaches the normalisation inside and keeps its statistics."""
    layer = shaken(SepBN2d(4))
    before = [buffer.clone() for buffer in running_buffers(layer)]

    made = nn.SyncBatchNorm.convert_sync_batchnorm(layer)

    assert isinstance(made.norm, nn.SyncBatchNorm) and not made.norm.affine
    assert all(torch.equal(a, b) for a, b in zip(before, running_buffers(made), strict=True))


def _synchronised(norm: Any) -> nn.Module:
    layer = SynchronisedBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    layer.load_state_dict(norm.state_dict())
    return layer
