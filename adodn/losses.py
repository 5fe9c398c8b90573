"""The losses of the papers, as pure functions.

Shapes: B batch, L landmarks, H×W grid. Landmarks are fractions of the crop.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from adodn.config import LossConfig
from adodn.models.nuclear_norm import effective_rank, nuclear_norm
from adodn.models.occlusion_adaptive import OcclusionAdaptiveNet, Prediction

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


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over faces of ‖Š - S‖²_F, the first term of Eq. 6. Both `[B, L, 2]`; a scalar comes back."""
    return (predicted - target).square().sum(dim=(1, 2)).mean()


def smooth_l1_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over faces of the summed smooth L1 distance (Girshick, ICCV 2015, Eq. 3). Both `[B, L, 2]`."""
    mean: Tensor = F.smooth_l1_loss(predicted, target, beta=_SMOOTH_L1_BETA, reduction="sum") / predicted.shape[0]
    return mean


def map_l1(response: Tensor) -> Tensor:
    """Mean over faces of ‖P‖₁, P `[B, 1, H, W]` (Eqs. 4 and 6). Its subgradient at 0 is 0 (Eq. 9)."""
    return response.abs().sum(dim=(1, 2, 3)).mean()


@dataclass(frozen=True, slots=True)
class LossTerms:
    """Eq. 6 term by term, unweighted, each a scalar; weight decay is the optimiser's and not here."""

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


def loss_terms(prediction: Prediction, target: Tensor, model: OcclusionAdaptiveNet, weights: LossConfig) -> LossTerms:
    """The terms of Eq. 6 for one batch; `target` is `[B, L, 2]`. Terms of modules that the model lacks are 0."""
    error = squared_error if weights.regression == "squared" else smooth_l1_error
    zero = prediction.landmarks.new_zeros(())
    seen = prediction.attention
    return LossTerms(
        landmarks=error(prediction.landmarks, target),
        response_l1=map_l1(seen.response) if seen else zero,
        importance_l1=map_l1(seen.importance) if seen else zero,
        nuclear_norm=nuclear_norm(model.low_rank_matrix) if model.low_rank_matrix is not None else zero,
    )
