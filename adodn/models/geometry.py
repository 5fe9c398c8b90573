"""Geometry-aware module: relations between all pairs of places on a face (ADODN §III-B Eq. 1; ODN §3.1).

Shapes: B batch, C channels in, G = C / r, H×W grid, S = H·W.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from adodn.models.resnet import Norm


class GeometryModule(nn.Module):
    """Two pathways of different reach, their features multiplied, a 1×1 convolution over the products.

    The BN and ReLU stand before the pool on purpose: pooling an outer product linearly collapses it to one pathway
    times the other's mean, and no pairwise relation is left.

    Args:
        channels: C of the input.
        reduction: r; the pathways' width is C / r.
        interaction: `outer_product` relates every place with every other (ADODN); `row_column` relates rows of one
            pathway with rows of the other, channel by channel, as F_A F_Bᵀ (ODN).
        norm: Makes the normalisation for a number of channels.
    """

    def __init__(
        self, channels: int, reduction: int, interaction: Literal["outer_product", "row_column"], norm: Norm
    ) -> None:
        super().__init__()
        self.channels = channels // reduction
        self.interaction = interaction
        self.pathway_a = bottleneck(channels, self.channels, self.channels, 3, norm)
        self.pathway_b = bottleneck(channels, self.channels, self.channels, 5, norm)
        self.combine = nn.Conv2d(self.channels, self.channels, 1, bias=False)
        self.norm = norm(self.channels)

    def forward(self, features: Tensor) -> Tensor:
        """Z `[B, C, H, W]` → G `[B, G, H, W]`, none negative."""
        a, b = self.pathway_a(features), self.pathway_b(features)
        products = _outer_product(a, b) if self.interaction == "outer_product" else a @ b.mT
        relations = torch.relu(self.norm(self.combine(products)))
        return nn.functional.adaptive_avg_pool2d(relations, (features.shape[-2], features.shape[-1]))


def _outer_product(a: Tensor, b: Tensor) -> Tensor:
    """Channel by channel, every place of one times every place of the other: 2 × `[B, G, H, W]` → `[B, G, S, S]`."""
    return a.flatten(2).unsqueeze(-1) * b.flatten(2).unsqueeze(-2)


def bottleneck(channels: int, width: int, out_channels: int, kernel: int, norm: Norm) -> nn.Sequential:
    """1×1 → k×k → 1×1, each followed by BN and ReLU."""
    layers: list[nn.Module] = []
    for inside, outside, size in ((channels, width, 1), (width, width, kernel), (width, out_channels, 1)):
        conv = nn.Conv2d(inside, outside, size, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, norm(outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
