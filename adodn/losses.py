"""The losses of the papers, as pure functions.

Shapes: B batch, L landmarks, H×W grid. Landmarks are fractions of the crop.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from adodn.config import LossConfig
from adodn.models.cnt import Network
from adodn.models.occlusion_adaptive import Prediction

_SMOOTH_L1_BETA = 0.01
"""Where smooth L1 turns from square to straight: 1 % of the crop."""
_WING_WIDTH = 0.04
"""w, where the wing loss turns from logarithm to straight: 4 % of the crop, about 10 of 256 pixels."""
_WING_CURVATURE = 0.008
"""ε of the wing loss; its paper's best pair has w / ε = 5 as well."""


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over faces of ‖Š - S‖²_F, the first term of Eq. 6. Both `[B, L, 2]`; a scalar comes back."""
    return (predicted - target).square().sum(dim=(1, 2)).mean()


def smooth_l1_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over faces of the summed smooth L1 distance (Girshick, ICCV 2015, Eq. 3). Both `[B, L, 2]`."""
    mean: Tensor = F.smooth_l1_loss(predicted, target, beta=_SMOOTH_L1_BETA, reduction="sum") / predicted.shape[0]
    return mean


def l1_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over faces of Σ |Š - S| over their 2L coordinates (CNT, SepBN). Both `[B, L, 2]`; a scalar comes back."""
    return (predicted - target).abs().sum(dim=(1, 2)).mean()


def wing_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over faces of Σ wing(Š - S) over their 2L coordinates (Feng et al., CVPR 2018).

    wing(x) = w ln(1 + |x| / ε) where |x| < w, else |x| - C, with C = w - w ln(1 + w / ε) so that the pieces meet.

    Args:
        predicted: `[B, L, 2]`.
        target: `[B, L, 2]`.

    Returns:
        A scalar.
    """
    distance = (predicted - target).abs()
    near = _WING_WIDTH * torch.log1p(distance / _WING_CURVATURE)
    far = distance - (_WING_WIDTH - _WING_WIDTH * math.log1p(_WING_WIDTH / _WING_CURVATURE))
    return torch.where(distance < _WING_WIDTH, near, far).sum(dim=(1, 2)).mean()


REGRESSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": squared_error,
    "l1": l1_error,
    "smooth_l1": smooth_l1_error,
    "wing": wing_error,
}
"""By the names of `LossConfig.regression`."""


def map_l1(response: Tensor) -> Tensor:
    """Mean over faces of ‖P‖₁, P `[B, 1, H, W]` (ADODN Eqs. 4, 6; ODN Eq. 3). Its subgradient at 0 is 0 (Eq. 9)."""
    return response.abs().sum(dim=(1, 2, 3)).mean()


def nuclear_norm(matrix: Tensor) -> Tensor:
    """‖M‖_*, the sum of the singular values of a matrix `[d, k]`.

    Its gradient is U_r V_rᵀ (ADODN Eq. 7), the subgradient of least norm: singular values that rounding cannot tell
    from zero do not count, so it stays finite for rank-deficient and zero matrices. Both come from the eigenvectors of
    the smaller Gram matrix, in double precision because squaring doubles the digits that are needed.

    Returns:
        A scalar of the matrix's dtype, at least fp32.
    """
    result: Tensor = _NuclearNorm.apply(matrix)  # type: ignore[no-untyped-call]
    return result


class _NuclearNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        wide = matrix.shape[0] < matrix.shape[1]
        tall = (matrix.mT if wide else matrix).double()
        singular, right = singular_values(tall)
        kept = singular > _rank_tolerance(matrix.dtype) * singular.amax()
        inverse = torch.where(kept, singular, 1.0).reciprocal() * kept
        polar = tall @ ((right * inverse) @ right.mT)  # U_r V_rᵀ
        ctx.save_for_backward((polar.mT if wide else polar).to(matrix.dtype))
        value_dtype = matrix.dtype if matrix.dtype in (torch.float32, torch.float64) else torch.float32
        return singular.sum().to(value_dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (polar,) = ctx.saved_tensors
        scaled: Tensor = gradient.to(polar.dtype) * polar
        return scaled


def singular_values(tall: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values `[k]`, ascending, and right singular vectors `[k, k]` in columns, of a matrix `[d, k]`, d ≥ k."""
    eigenvalues, right = torch.linalg.eigh(tall.mT @ tall)
    return eigenvalues.clamp(min=0).sqrt(), right


def effective_rank(singular: Tensor) -> Tensor:
    """exp of the entropy of normalised singular values `[k]` (Roy & Vetterli, EUSIPCO 2007); 0 if all are zero."""
    total = singular.sum()
    if total == 0:
        return torch.zeros_like(total)
    entropy: Tensor = torch.special.entr(singular / total).sum()
    return entropy.exp()


def _rank_tolerance(dtype: torch.dtype) -> float:
    """Below this share of the largest singular value, a stored matrix cannot hold one: it is rounding."""
    return max(4 * torch.finfo(dtype).eps, 3e-8) if dtype != torch.float64 else 3e-8


@dataclass(frozen=True, slots=True)
class LossTerms:
    """ADODN's Eq. 6, or ODN's Eq. 3, term by term, unweighted, each a scalar; the optimiser does the weight decay."""

    landmarks: Tensor
    response_l1: Tensor
    importance_l1: Tensor
    nuclear_norm: Tensor

    def total(self, weights: LossConfig) -> Tensor:
        """The weighted sum that is minimised."""
        return (
            self.landmarks
            + weights.response_l1 * self.response_l1
            + weights.importance_l1 * self.importance_l1
            + weights.nuclear_norm * self.nuclear_norm
        )


def loss_terms(prediction: Prediction, target: Tensor, model: Network, weights: LossConfig) -> LossTerms:
    """The terms for one batch; `target` is `[B, L, 2]`. Terms of modules that the model lacks are 0."""
    zero = prediction.landmarks.new_zeros(())
    maps = prediction.maps
    return LossTerms(
        landmarks=REGRESSIONS[weights.regression](prediction.landmarks, target),
        response_l1=map_l1(maps.response) if maps else zero,
        importance_l1=map_l1(maps.importance) if maps and maps.importance is not None else zero,
        nuclear_norm=nuclear_norm(model.low_rank_matrix) if model.low_rank_matrix is not None else zero,
    )
