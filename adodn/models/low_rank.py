"""Low-rank module: the regression that lets features stand in for those that are covered (ADODN §III-D, ODN §3.3)."""

from typing import cast

import torch
from torch import Tensor, nn

from adodn.models.precision import at_least_fp32


class LowRankHead(nn.Module):
    """Ŝ = W_fcᵀ Mᵀ X + b (Eq. 5). Computes in its parameters' precision, also under autocast.

    Args:
        num_features: d, the length of X.
        width: k, the columns of M.
        num_outputs: Coordinates in Ŝ.
    """

    def __init__(self, num_features: int, width: int, num_outputs: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.empty(num_features, width))
        """M `[d, k]`."""
        nn.init.normal_(self.matrix, std=num_features**-0.5)
        self.fc = nn.Linear(width, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """X `[B, d]` → Ŝ `[B, num_outputs]`."""
        with torch.autocast(features.device.type, enabled=False):
            return cast(Tensor, self.fc(at_least_fp32(features) @ self.matrix))
