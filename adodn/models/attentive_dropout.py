"""Attentive dropout module: now and then hide what the network looks at most (ADODN §III-C, Eqs. 2-4).

Shapes: B batch, C channels, H×W grid.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from adodn.models.precision import at_least_fp32
from adodn.models.resnet import Norm


@dataclass(frozen=True, slots=True)
class Attention:
    """What the module computed on the way, for the loss and for pictures. All `[B, 1, H, W]`."""

    attention: Tensor
    """A: mean absolute feature (Eq. 2), not negative."""
    response: Tensor
    """P′: what pathway C finds uncovered, 0 … 1."""
    importance: Tensor
    """P″ = M_i = sigmoid(A), 0.5 … 1."""


class AttentiveDropout(nn.Module):
    """F_out = F_in · P′ · M, where M is the drop mask or the importance map (Eq. 3).

    The paper prints the drop mask as 1 where A > τ_d; its text, and the attention-based dropout layer that it builds
    on, suppress those places. We suppress.

    Args:
        channels: C of the input.
        reduction: r; pathway C's width is C / r.
        threshold: τ_d.
        threshold_mode: `relative`: τ_d is a fraction of each face's largest A; `absolute`: compared with A as it is.
        norm: Makes the normalisation for a number of channels.
    """

    def __init__(
        self,
        channels: int,
        reduction: int,
        threshold: float,
        threshold_mode: Literal["relative", "absolute"],
        norm: Norm,
    ) -> None:
        super().__init__()
        width = channels // reduction
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.pathway_c = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, features: Tensor, residual: Tensor, drop: Tensor | None) -> tuple[Tensor, Attention]:
        """Weight the features of the residual branch.

        Args:
            features: Z `[B, C, H, W]`.
            residual: F_in `[B, C, H, W]`, pathway D's answer.
            drop: `[B]` bool: True takes the drop mask, False the importance map; None: the importance map for all.

        Returns:
            F_out `[B, C, H, W]` and what led to it.
        """
        attention = at_least_fp32(features).abs().mean(dim=1, keepdim=True)
        response = torch.sigmoid(at_least_fp32(self.pathway_c(features)))
        importance = torch.sigmoid(attention)
        mask = importance
        if drop is not None:
            mask = torch.where(drop.view(-1, 1, 1, 1), self.drop_mask(attention), importance)
        return residual * (response * mask).to(residual.dtype), Attention(attention, response, importance)

    def drop_mask(self, attention: Tensor) -> Tensor:
        """M_d: 0 where A > τ_d, else 1. A `[B, 1, H, W]`."""
        limit: Tensor | float = self.threshold
        if self.threshold_mode == "relative":
            limit = self.threshold * attention.amax(dim=(2, 3), keepdim=True)
        return (attention <= limit).to(attention.dtype)


def draw_switch(
    *, seed: int, step: int, probability: float, positions: Tensor, scope: Literal["step", "sample"]
) -> Tensor:
    """Which faces of a training step get the drop mask.

    A pure function of its arguments: all workers of a step make the same draw, whichever faces they hold.

    Args:
        seed: Of the experiment.
        step: Global training step.
        probability: p.
        positions: `[B]` int64, places of this worker's faces in the global batch.
        scope: `step`: one draw for all; `sample`: one for each place.

    Returns:
        `[B]` bool.
    """
    draws = np.random.Generator(np.random.Philox(key=[seed, step]))
    if scope == "step":
        return torch.full(positions.shape, bool(draws.random() < probability), device=positions.device)
    longest = int(positions.max()) + 1
    chosen = torch.from_numpy(draws.random(longest) < probability)
    return chosen.to(positions.device)[positions]
