"""The geometry module's outer product, formed in tiles, against Eq. 1 written out with stock operators.

pytest tests/unit/test_geometry.py
"""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adodn.models.batch_norm import VirtualBatchNorm2d
from adodn.models.geometry import GeometryModule
from adodn.models.resnet import Norm

Answer = tuple[Tensor, dict[str, Tensor]]


def module_of(faces: int, *, channels: int = 16, norm: Norm | None = None) -> GeometryModule:
    """With weights and statistics that no part of a formula leaves alone."""
    torch.manual_seed(0)
    module = GeometryModule(channels, 2, "outer_product", norm or partial(VirtualBatchNorm2d, faces=faces))
    for name, values in module.named_parameters():
        if values.ndim == 1:
            nn.init.uniform_(values, 0.5, 1.5) if name.endswith("weight") else nn.init.normal_(values, std=0.3)
    for name, buffer in module.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 1.5)
    return module


def plain(module: GeometryModule, features: Tensor) -> Tensor:
    """Eq. 1 to the letter: all products, convolution, norm, ReLU, pool."""
    a, b = module.pathway_a(features), module.pathway_b(features)
    products = torch.einsum("bcs,bct->bcst", a.flatten(2), b.flatten(2))
    relations = torch.relu(module.norm(module.combine(products)))
    return F.adaptive_avg_pool2d(relations, (features.shape[-2], features.shape[-1]))


def answers(module: GeometryModule, features: Tensor, *, written_out: bool) -> Answer:
    """What it says, all gradients of an arbitrary function of that, and the buffers afterwards; on a copy."""
    module, features = deepcopy(module), features.clone().requires_grad_()
    said = plain(module, features) if written_out else module(features)
    draws = torch.Generator().manual_seed(1)
    (said * (0.5 + torch.randn(said.shape, generator=draws))).sum().backward()
    gradients = {f"{name}.grad": values.grad for name, values in module.named_parameters()}
    assert features.grad is not None
    return said.detach(), gradients | {"features": features.grad} | dict(module.named_buffers())  # type: ignore[return-value]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("grid", "faces", "runs"),
    [((2, 2), 2, 1), ((2, 3), 2, 2), ((3, 2), 4, 1), ((7, 7), 4, 2), ((12, 12), 4, 2), ((1, 1), 3, 1)],
)
def test_tiles_give_what_equation_1_written_out_gives(
    grid: tuple[int, int], faces: int, runs: int, training: bool
) -> None:
    """Values, gradients of input and weights, running statistics; 12 x 12 takes a tile of three faces, then one."""
    module = module_of(faces).double().train(training)
    features = torch.randn(faces * runs, 16, *grid, dtype=torch.float64)

    ours, oracle = (answers(module, features, written_out=written_out) for written_out in (False, True))

    torch.testing.assert_close(ours, oracle, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_gradient_by_numerical_differentiation(training: bool) -> None:
    """Of the module as a whole, batch statistics included."""
    module = module_of(2, channels=4).double().train(training)

    assert torch.autograd.gradcheck(module, (torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True),))


def test_half_precision_is_no_further_from_the_truth_than_the_plain_form() -> None:
    """Under bf16 autocast, values and gradients are at most half as far again from fp64 as the plain form's."""
    module, features = module_of(8, channels=64), torch.randn(16, 64, 4, 4)
    said, truth = answers(deepcopy(module).double(), features.double(), written_out=True)
    with torch.autocast("cpu", torch.bfloat16):
        (ours, our_rest), (theirs, their_rest) = (answers(module, features, written_out=w) for w in (False, True))

    assert ours.dtype == torch.bfloat16
    assert (ours - said).norm() < 1.5 * (theirs - said).norm()
    for name in (name for name in truth if name.endswith(("grad", "features"))):
        assert (our_rest[name] - truth[name]).norm() < 1.5 * (their_rest[name] - truth[name]).norm(), name


def test_statistics_of_nearly_constant_maps() -> None:
    """Products that vary by a thousandth of their mean keep their variance: fp32 moments would lose it to rounding."""
    module = module_of(4, channels=8)
    module.pathway_a, module.pathway_b = nn.Sequential(nn.Identity()), nn.Sequential(nn.Identity())
    module.norm.momentum = 1.0  # type: ignore[assignment]
    exact = deepcopy(module).double()
    features = 1 + 1e-3 * torch.rand(4, 4, 3, 3, generator=torch.Generator().manual_seed(0))

    module(features)
    plain(exact, features.double())

    expected = dict(exact.norm.named_buffers())
    assert 0 < expected["running_var"].max() < 1e-4
    for name, buffer in module.norm.named_buffers():
        torch.testing.assert_close(buffer, expected[name].to(buffer.dtype), rtol=1e-5, atol=0)


def test_another_norm_is_called_as_it_is() -> None:
    """A norm that the tiles know nothing of normalises the products themselves."""
    module = module_of(1, norm=partial(nn.GroupNorm, 2))
    features = torch.randn(3, 16, 3, 2)

    torch.testing.assert_close(module(features), plain(module, features))


def test_a_batch_that_is_no_whole_number_of_runs_is_refused() -> None:
    """In training, as the norm itself refuses it; in evaluation any number of faces goes."""
    module = module_of(2)
    module.pathway_a, module.pathway_b = nn.Sequential(nn.Identity()), nn.Sequential(nn.Identity())

    with pytest.raises(ValueError, match="multiple of 2 faces"):
        module(torch.rand(3, 8, 2, 2))
    assert module.eval()(torch.rand(3, 8, 2, 2)).shape == (3, 8, 2, 2)


def test_an_exported_graph_takes_any_number_of_faces() -> None:
    """Export writes the plain form; it says what the module says."""
    module, batch = module_of(2).eval(), torch.export.Dim("batch")
    graph = torch.export.export(module, (torch.randn(2, 16, 3, 3),), dynamic_shapes=({0: batch},)).module()

    for faces in (1, 5):
        features = torch.randn(faces, 16, 3, 3)
        torch.testing.assert_close(graph(features), module(features))
