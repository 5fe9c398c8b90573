"""The losses of the papers, as pure functions.

Shapes: B batch, L landmarks, H×W grid. Landmarks are fractions of the crop.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from adodn.config import LossConfig
from adodn.models.cnt import Network
from adodn.models.nuclear_norm import effective_rank, nuclear_norm, nuclear_norm_and_spectrum
from adodn.models.occlusion_adaptive import Prediction

__all__ = [
    "LossTerms",
    "effective_rank",
    "loss_terms",
    "map_l1",
    "nuclear_norm",
    "smooth_l1_error",
    "squared_error",
]

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


@dataclass(frozen=True, slots=True)
class LossTerms:
    """ADODN's Eq. 6, or ODN's Eq. 3, term by term, unweighted, each a scalar; the optimiser does the weight decay."""

    landmarks: Tensor
    response_l1: Tensor
    importance_l1: Tensor
    nuclear_norm: Tensor
    effective_rank: Tensor
    """Of M, in columns; not part of the loss, but it costs nothing beside the nuclear norm and tells what that does."""

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
    maps, matrix = prediction.maps, model.low_rank_matrix
    norm, singular = (zero, zero.new_zeros(1)) if matrix is None else nuclear_norm_and_spectrum(matrix)
    return LossTerms(
        landmarks=REGRESSIONS[weights.regression](prediction.landmarks, target),
        response_l1=map_l1(maps.response) if maps else zero,
        importance_l1=map_l1(maps.importance) if maps and maps.importance is not None else zero,
        nuclear_norm=norm,
        effective_rank=effective_rank(singular),
    )
