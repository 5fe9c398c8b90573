"""Attentive dropout module: now and then hide what the network looks at most (ADODN §III-C, Eqs. 2-4).

It is ODN's distillation module with one factor more, the mask. Who gets which mask in training is drawn outside, by
`draw_switch`, so that the module itself is a plain function.

    module = AttentiveDropout(512, 8, nn.BatchNorm2d, threshold=0.8)
    weighted, maps = module(features, residual, draw_switch(...))

Shapes: B batch, C channels, H×W grid.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from adodn.models.distillation import Distillation, OcclusionMaps
from adodn.models.precision import at_least_fp32
from adodn.models.resnet import Norm


class AttentiveDropout(Distillation):
    """F_out = F_in · P′ · M, where M is the drop mask or the importance map (Eq. 3).

    The paper prints the drop mask as 1 where A > τ_d; its text, and the attention-based dropout layer that it builds
    on (Choe et al., CVPR 2019), suppress those places. We suppress.

    Args:
        channels: C of the input.
        reduction: r; the width of P′'s pathway is C / r.
        norm: Makes the normalisation for a number of channels.
        threshold: τ_d.
        threshold_mode: `relative`: τ_d is a fraction of each face's largest A; `absolute`: compared with A as it is.
        evaluation_mask: M where nothing is drawn: `importance` M_i, `drop` M_d, `expectation` p M_d + (1 - p) M_i.
        drop_probability: p of the expectation.
    """

    def __init__(
        self,
        channels: int,
        reduction: int,
        norm: Norm,
        *,
        threshold: float,
        threshold_mode: Literal["relative", "absolute"] = "relative",
        evaluation_mask: Literal["importance", "drop", "expectation"] = "importance",
        drop_probability: float = 0.5,
    ) -> None:
        super().__init__(channels, reduction, norm)
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.evaluation_share = {"importance": 0.0, "drop": 1.0, "expectation": drop_probability}[evaluation_mask]

    def forward(self, features: Tensor, residual: Tensor, drop: Tensor | None) -> tuple[Tensor, OcclusionMaps]:
        """Weight the features of the residual branch.

        Args:
            features: Z `[B, C, H, W]`.
            residual: F_in `[B, C, H, W]`, what the residual branch makes of Z.
            drop: `[B]` bool: True takes the drop mask, False the importance map; None: the evaluation mask for all.

        Returns:
            F_out `[B, C, H, W]` and what led to it.
        """
        attention = at_least_fp32(features).abs().mean(dim=1, keepdim=True)
        response, importance = self.response(features), torch.sigmoid(attention)
        if drop is None:
            mask = self._evaluation_mask(attention, importance)
        else:
            mask = torch.where(drop.view(-1, 1, 1, 1), self.drop_mask(attention), importance)
        maps = OcclusionMaps(response=response, attention=attention, importance=importance)
        return residual * (response * mask).to(residual.dtype), maps

    def drop_mask(self, attention: Tensor) -> Tensor:
        """M_d: 0 where A > τ_d, else 1. A `[B, 1, H, W]`."""
        limit: Tensor | float = self.threshold
        if self.threshold_mode == "relative":
            limit = self.threshold * attention.amax(dim=(2, 3), keepdim=True)
        return (attention <= limit).to(attention.dtype)

    def _evaluation_mask(self, attention: Tensor, importance: Tensor) -> Tensor:
        if self.evaluation_share == 0:
            return importance
        return torch.lerp(importance, self.drop_mask(attention), self.evaluation_share)


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
