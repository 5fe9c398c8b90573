"""Losses against oracles: torch.linalg.svd, autograd, and sums by hand.

pytest tests/unit/test_losses.py
"""

import math
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from adodn import losses
from adodn.config import LossConfig, ModelConfig
from adodn.models import build
from adodn.models.distillation import OcclusionMaps
from adodn.models.occlusion_adaptive import Prediction


def random_matrix(rows: int, columns: int, *, rank: int | None = None, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(rows, columns, generator=draws)
    return torch.randn(rows, rank, generator=draws) @ torch.randn(rank, columns, generator=draws)


def matrix_with(singular: Tensor, rows: int) -> Tensor:
    left = torch.linalg.qr(random_matrix(rows, len(singular), seed=1).double()).Q
    right = torch.linalg.qr(random_matrix(len(singular), len(singular), seed=2).double()).Q
    return ((left * singular.double()) @ right.mT).float()


def value_and_gradient(matrix: Tensor) -> tuple[Tensor, Tensor]:
    leaf = matrix.clone().requires_grad_()
    value = losses.nuclear_norm(leaf)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def polar_factor(matrix: Tensor, rank: int) -> Tensor:
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (left[:, :rank] @ right[:rank]).float()


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (300, 64), (64, 300), (1, 7), (7, 1)])
def test_nuclear_norm_of_full_rank(rows: int, columns: int) -> None:
    """Value and gradient are those of the SVD (Eq. 7)."""
    matrix = random_matrix(rows, columns)

    value, gradient = value_and_gradient(matrix)

    torch.testing.assert_close(value, torch.linalg.svdvals(matrix).sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, polar_factor(matrix, min(rows, columns)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("rows", "columns", "rank"), [(80, 40, 7), (40, 80, 7), (200, 50, 1), (64, 64, 63)])
def test_nuclear_norm_of_deficient_rank(rows: int, columns: int, rank: int) -> None:
    """Directions without a singular value get no gradient: the subgradient of least norm."""
    matrix = random_matrix(rows, columns, rank=rank)

    value, gradient = value_and_gradient(matrix)

    torch.testing.assert_close(value, torch.linalg.svdvals(matrix.double()).sum().float(), rtol=1e-4, atol=0)
    torch.testing.assert_close(gradient, polar_factor(matrix, rank), rtol=0, atol=1e-3)
    torch.testing.assert_close(gradient.square().sum(), torch.tensor(float(rank)), rtol=1e-3, atol=0)


def test_nuclear_norm_of_ill_conditioned() -> None:
    """Singular values over six orders of magnitude all count, in value and in gradient."""
    singular = torch.logspace(0, -6, 32)
    matrix = matrix_with(singular, rows=100)

    value, gradient = value_and_gradient(matrix)

    torch.testing.assert_close(value, singular.sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(torch.linalg.svdvals(gradient)[:28], torch.ones(28), rtol=0, atol=1e-3)


def test_nuclear_norm_of_zero() -> None:
    """A zero matrix has norm 0 and gradient 0, not NaN."""
    value, gradient = value_and_gradient(torch.zeros(20, 10))

    assert value == 0
    assert torch.equal(gradient, torch.zeros(20, 10))


def test_nuclear_norm_in_double_precision_passes_gradcheck() -> None:
    """Numerical differentiation agrees."""
    matrix = random_matrix(6, 4).double().requires_grad_()

    assert torch.autograd.gradcheck(losses.nuclear_norm, (matrix,))


def test_nuclear_norm_stays_fp32_under_autocast() -> None:
    """bf16 autocast changes nothing: it would leave three digits."""
    matrix = random_matrix(128, 32)

    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = value_and_gradient(matrix)

    torch.testing.assert_close(value, torch.linalg.svdvals(matrix).sum(), rtol=1e-5, atol=0)
    assert value.dtype == gradient.dtype == torch.float32


def test_nuclear_norm_does_not_decompose_the_large_side() -> None:
    """The work is on the smaller Gram matrix: `[20000, 16]` has no square of its long side."""
    matrix = random_matrix(20_000, 16)

    torch.testing.assert_close(losses.nuclear_norm(matrix), torch.linalg.svdvals(matrix).sum(), rtol=1e-5, atol=0)


def test_effective_rank() -> None:
    """k equal values have effective rank k; one value has 1; none have 0."""
    assert losses.effective_rank(torch.full((7,), 3.0)) == pytest.approx(7)
    assert losses.effective_rank(torch.tensor([5.0, 0.0, 0.0])) == pytest.approx(1)
    assert losses.effective_rank(torch.zeros(4)) == 0


def test_map_l1_subgradient() -> None:
    """+1 where positive, -1 where negative, inside [-1, 1] at zero, over the number of faces (Eq. 9)."""
    response = torch.tensor([[[[2.0, -3.0], [0.0, 1.0]]], [[[-1.0, 0.5], [0.0, 0.0]]]], requires_grad=True)

    value = losses.map_l1(response)
    value.backward()

    assert value.item() == pytest.approx((2 + 3 + 1 + 1 + 0.5) / 2)
    assert response.grad is not None
    signs = 2 * response.grad
    assert torch.equal(signs[response > 0], torch.ones(3))
    assert torch.equal(signs[response < 0], -torch.ones(2))
    assert (signs[response == 0].abs() <= 1).all()


def test_squared_error_by_hand() -> None:
    """(3² + 4²) on one of two faces is 12.5 a face."""
    target = torch.zeros(2, 5, 2)
    predicted = target.clone()
    predicted[0, 1] = torch.tensor([3.0, 4.0])

    assert losses.squared_error(predicted, target).item() == 12.5


def test_smooth_l1_by_hand() -> None:
    """Square within β, straight outside, summed over points, mean over faces."""
    target = torch.zeros(2, 1, 2)
    predicted = torch.tensor([[[0.005, 0.0]], [[0.0, 0.11]]])

    expected = (0.5 * 0.005**2 / 0.01 + (0.11 - 0.005)) / 2
    assert losses.smooth_l1_error(predicted, target).item() == pytest.approx(expected, rel=1e-5)


def test_l1_by_hand() -> None:
    """3 + 4 on one of two faces is 3.5 a face."""
    target = torch.zeros(2, 5, 2)
    predicted = target.clone()
    predicted[0, 1] = torch.tensor([3.0, -4.0])

    assert losses.l1_error(predicted, target).item() == 3.5


def test_wing_by_hand() -> None:
    """A logarithm within w, straight outside, summed over points, mean over faces."""
    target = torch.zeros(2, 1, 2)
    predicted = torch.tensor([[[0.02, 0.0]], [[0.0, -0.5]]])

    near = 0.04 * math.log(1 + 0.02 / 0.008)
    far = 0.5 - (0.04 - 0.04 * math.log(1 + 0.04 / 0.008))
    assert losses.wing_error(predicted, target).item() == pytest.approx((near + far) / 2, rel=1e-5)


def test_wing_pieces_meet_and_its_slope_falls() -> None:
    """No jump at w; a slope of w / ε at zero and of 1 from w on, and none at zero itself."""
    at = torch.tensor([0.0, 1e-9, 0.04 - 1e-9, 0.04 + 1e-9, 0.3], dtype=torch.float64, requires_grad=True)

    values = torch.stack([losses.wing_error(x.view(1, 1, 1), torch.zeros(1, 1, 1)) for x in at])
    (slope,) = torch.autograd.grad(values.sum(), at)

    values = values.detach()
    assert values[0] == 0 and values[3] - values[2] < 1e-8
    expected = [0.0, 0.04 / 0.008, 0.04 / (0.008 + 0.04), 1.0, 1.0]
    assert slope.tolist() == pytest.approx(expected, rel=1e-6)


def test_every_loss_that_a_config_may_name_exists() -> None:
    """The names of `LossConfig.regression` are those of the registry."""
    assert set(get_args(get_type_hints(LossConfig)["regression"])) == set(losses.REGRESSIONS)


@pytest.mark.parametrize("name", sorted(losses.REGRESSIONS))
def test_every_loss_is_a_mean_over_faces_that_gradcheck_agrees_with(name: str) -> None:
    """Zero for a perfect answer, else positive; blind to sign and to repeated faces; numerical gradients agree."""
    error = losses.REGRESSIONS[name]
    draws = torch.Generator().manual_seed(4)
    target = torch.rand(3, 5, 2, generator=draws, dtype=torch.float64)
    predicted = (target + 0.1 * torch.randn(3, 5, 2, generator=draws, dtype=torch.float64)).requires_grad_()

    assert error(target, target) == 0 < error(predicted, target)
    torch.testing.assert_close(error(predicted, target), error(target, predicted))
    torch.testing.assert_close(error(predicted.repeat(2, 1, 1), target.repeat(2, 1, 1)), error(predicted, target))
    assert torch.autograd.gradcheck(lambda p: error(p, target), (predicted,))


def test_total_is_equation_3_of_odn() -> None:
    """Eq. 3 written out: squared error + η ‖P‖₁ + β ‖M‖_*; η″ has nothing to act on."""
    weights = LossConfig(nuclear_norm=0.3, response_l1=0.2, importance_l1=1e9)
    model = build(ModelConfig(input_px=64, grid=2, rank_width=8, occlusion="distillation"))
    assert model.low_rank_matrix is not None
    draws = torch.Generator().manual_seed(3)
    landmarks, target = (torch.rand(2, 68, 2, generator=draws) for _ in range(2))
    response = torch.rand(2, 1, 2, 2, generator=draws)

    prediction = Prediction(landmarks, OcclusionMaps(response=response))
    total = losses.loss_terms(prediction, target, model, weights).total(weights)

    oracle = sum(((landmarks[i] - target[i]) ** 2).sum() + 0.2 * response[i].abs().sum() for i in range(2)) / 2
    oracle = oracle + 0.3 * torch.linalg.svdvals(model.low_rank_matrix).sum()
    torch.testing.assert_close(total, oracle, rtol=1e-5, atol=0)


@pytest.mark.parametrize("occlusion", ["distillation", "attentive_dropout"])
def test_l1_weights_reach_the_weights_of_the_network(occlusion: str) -> None:
    """η moves the pathway of the response map in ODN and ADODN; η″ moves the trunk, and only ADODN's."""
    model = build(ModelConfig(input_px=64, grid=2, rank_width=8, batch_norm_faces=2, occlusion=occlusion))  # type: ignore[arg-type]
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    terms = losses.loss_terms(model(images), torch.rand(2, 68, 2), model, LossConfig())
    assert model.occlusion is not None
    last, trunk = model.occlusion.pathway[-1].weight, model.trunk.conv1.weight
    assert isinstance(last, Tensor)

    (of_response,) = torch.autograd.grad(terms.response_l1, last, retain_graph=True)

    assert of_response.abs().max() > 0
    assert terms.importance_l1.requires_grad == (occlusion == "attentive_dropout")
    if terms.importance_l1.requires_grad:
        assert torch.autograd.grad(terms.importance_l1, trunk)[0].abs().max() > 0


def test_total_is_equation_6() -> None:
    """The total is Eq. 6 written out with an SVD and plain sums; its gradient in M is autograd's through that SVD."""
    weights = LossConfig(nuclear_norm=0.3, response_l1=0.2, importance_l1=0.1)
    model = build(ModelConfig(input_px=64, grid=2, rank_width=8, batch_norm_faces=2))
    assert model.low_rank_matrix is not None
    draws = torch.Generator().manual_seed(3)
    landmarks = torch.rand(2, 68, 2, generator=draws)
    response, importance = (torch.rand(2, 1, 2, 2, generator=draws) for _ in range(2))
    target = torch.rand(2, 68, 2, generator=draws)

    terms = losses.loss_terms(
        Prediction(landmarks, OcclusionMaps(response=response, importance=importance)), target, model, weights
    )
    total = terms.total(weights)
    (gradient,) = torch.autograd.grad(total, model.low_rank_matrix)

    oracle = sum(
        ((landmarks[i] - target[i]) ** 2).sum() + 0.2 * response[i].abs().sum() + 0.1 * importance[i].abs().sum()
        for i in range(2)
    ) / 2 + 0.3 * torch.linalg.matrix_norm(model.low_rank_matrix, "nuc")
    (expected,) = torch.autograd.grad(oracle, model.low_rank_matrix)
    torch.testing.assert_close(total, oracle, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-4)
