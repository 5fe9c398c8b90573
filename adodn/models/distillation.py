"""Distillation module: weight every place by how uncovered it looks (ODN §3.2). Both papers share it.

Pathway C, the residual block, is the trunk's last unit and not here; this is pathway D and the product of the two. In
ADODN the letters are swapped, and a mask is multiplied in besides: see `attentive_dropout.py`.

    distilled, maps = Distillation(512, 8, nn.BatchNorm2d)(features, residual, None)

Shapes: B batch, C channels, H×W grid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adodn.models.precision import at_least_fp32
from adodn.models.resnet import Norm


@dataclass(frozen=True, slots=True, kw_only=True)
class OcclusionMaps:
    """What an occlusion module computed on the way, for the loss and for pictures. All `[B, 1, H, W]`."""

    response: Tensor
    """P of ODN, P′ of ADODN: how uncovered a place looks, 0 … 1."""
    attention: Tensor | None = None
    """A: mean absolute feature (ADODN Eq. 2), not negative. None of the distillation module."""
    importance: Tensor | None = None
    """P″ = M_i = sigmoid(A), 0.5 … 1. None of the distillation module."""


class Distillation(nn.Module):
    """F_out = F_in · P, P the sigmoid of a 1×1 - 3×3 - 1×1 bottleneck that ends in one channel.

    ODN says that this pathway is narrower than those of the geometry-aware module, not how narrow. Its width is C / r
    like theirs, up to the last convolution, which alone has one channel: so ADODN describes the same bottleneck.

    Args:
        channels: C of the input.
        reduction: r; the pathway's width is C / r.
        norm: Makes the normalisation for a number of channels.
    """

    def __init__(self, channels: int, reduction: int, norm: Norm) -> None:
        super().__init__()
        width = channels // reduction
        self.pathway = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, features: Tensor, residual: Tensor, drop: Tensor | None) -> tuple[Tensor, OcclusionMaps]:
        """Weight the features of the residual block.

        Args:
            features: Z `[B, C, H, W]`.
            residual: F_in `[B, C, H, W]`, what the residual block makes of Z.
            drop: `[B]` bool, which faces' attention is dropped. Of no effect here: nothing is random in ODN.

        Returns:
            F_out `[B, C, H, W]` and what led to it.
        """
        response = self.response(features)
        return residual * response.to(residual.dtype), OcclusionMaps(response=response)

    def response(self, features: Tensor) -> Tensor:
        """Z `[B, C, H, W]` → P `[B, 1, H, W]`, 0 … 1, at least fp32."""
        return torch.sigmoid(at_least_fp32(self.pathway(features)))
