"""Losses against oracles: torch.linalg.svd, autograd, and sums by hand.

pytest tests/unit/test_losses.py
"""

import pytest
import torch
from torch import Tensor

from adodn import losses
from adodn.config import LossConfig, ModelConfig
from adodn.models import build
from adodn.models.attentive_dropout import Attention
from adodn.models.nuclear_norm import nuclear_norm_and_spectrum
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


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("singular", [torch.linspace(1, 2, 160), torch.logspace(0, -6, 160), torch.arange(160.0) < 90])
def test_nuclear_norm_in_blocks(singular: Tensor, turned: bool) -> None:
    """More rows and columns than a block has, well-conditioned, ill-conditioned and deficient, tall and wide."""
    matrix = matrix_with(singular, rows=2500)

    value, gradient = value_and_gradient(matrix.mT.contiguous() if turned else matrix)

    exact = torch.linalg.svdvals(matrix.double())
    rank = int((exact > 6e-7 * exact[0]).sum())
    assert rank >= 90
    torch.testing.assert_close(value, exact.sum().float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient.mT if turned else gradient, polar_factor(matrix, rank), rtol=0, atol=1e-3)


def test_nuclear_norm_gives_its_spectrum_along() -> None:
    """The singular values are those that were summed, largest first, without gradient; the norm's is weighted."""
    matrix = random_matrix(30, 70).requires_grad_()

    norm, singular = nuclear_norm_and_spectrum(matrix)
    (3 * norm).backward()

    assert not singular.requires_grad
    torch.testing.assert_close(singular, torch.linalg.svdvals(matrix.detach()), rtol=1e-5, atol=0)
    torch.testing.assert_close(norm.detach(), singular.sum(), rtol=1e-6, atol=0)
    torch.testing.assert_close(matrix.grad, 3 * polar_factor(matrix.detach(), 30), rtol=0, atol=1e-4)


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


def test_total_is_equation_6() -> None:
    """The total is Eq. 6 written out with an SVD and plain sums; its gradient in M is autograd's through that SVD."""
    weights = LossConfig(nuclear_norm=0.3, response_l1=0.2, importance_l1=0.1)
    model = build(ModelConfig(input_px=64, grid=2, rank_width=8, batch_norm_faces=2))
    assert model.low_rank_matrix is not None
    draws = torch.Generator().manual_seed(3)
    landmarks = torch.rand(2, 68, 2, generator=draws)
    maps = [torch.rand(2, 1, 2, 2, generator=draws) for _ in range(3)]
    target = torch.rand(2, 68, 2, generator=draws)

    terms = losses.loss_terms(Prediction(landmarks, Attention(*maps)), target, model, weights)
    total = terms.total(weights)
    (gradient,) = torch.autograd.grad(total, model.low_rank_matrix)

    oracle = sum(
        ((landmarks[i] - target[i]) ** 2).sum() + 0.2 * maps[1][i].abs().sum() + 0.1 * maps[2][i].abs().sum()
        for i in range(2)
    ) / 2 + 0.3 * torch.linalg.matrix_norm(model.low_rank_matrix, "nuc")
    (expected,) = torch.autograd.grad(oracle, model.low_rank_matrix)
    torch.testing.assert_close(total, oracle, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-4)
