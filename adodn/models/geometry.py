"""Geometry-aware module: relations between all pairs of places on a face (ADODN §III-B Eq. 1; ODN §3.1).

Shapes: B batch, C channels in, G = C / r, H×W grid, S = H·W.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from adodn.models.batch_norm import VirtualBatchNorm2d
from adodn.models.outer_product import pooled_relations
from adodn.models.pooling import mean_pool
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
        if self.interaction == "row_column":
            return mean_pool(self._relations(a @ b.mT), (a.shape[-2], a.shape[-1]))
        # An exported graph has stock operators only and takes any number of faces.
        if type(self.norm) is VirtualBatchNorm2d and not torch.compiler.is_exporting():
            return pooled_relations(a, b, self.combine.weight, self.norm)
        products = a.flatten(2).unsqueeze(-1) * b.flatten(2).unsqueeze(-2)
        # H bins of W rows, W bins of H columns: the bins of adaptive pooling, whose backward pass is slow.
        return nn.functional.avg_pool2d(self._relations(products), (a.shape[-1], a.shape[-2]))

    def _relations(self, products: Tensor) -> Tensor:
        return torch.relu(self.norm(self.combine(products)))


def bottleneck(channels: int, width: int, out_channels: int, kernel: int, norm: Norm) -> nn.Sequential:
    """1×1 → k×k → 1×1, each followed by BN and ReLU."""
    layers: list[nn.Module] = []
    for inside, outside, size in ((channels, width, 1), (width, width, kernel), (width, out_channels, 1)):
        conv = nn.Conv2d(inside, outside, size, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, norm(outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
