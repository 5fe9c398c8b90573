"""The occlusion-adaptive network: trunk → geometry beside occlusion module → low-rank regression (ODN Fig. 1).

One network for both papers: with the distillation module it is ODN, with attentive dropout ADODN. With modules left out
it is each row of their ablations, down to BRNet, the plain trunk with a linear layer.

Shapes: B batch, S input side, C = 512, H×W = S/32 × S/32, L landmarks.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from adodn.models.distillation import Distillation, OcclusionMaps
from adodn.models.geometry import GeometryModule
from adodn.models.low_rank import LowRankHead
from adodn.models.pooling import MeanPool2d
from adodn.models.precision import at_least_fp32
from adodn.models.trunks import Trunk
from adodn.models.vanilla_cnn import SLOPE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network says of a batch."""

    landmarks: Tensor
    """`[B, L, 2]`, fractions of the crop, in the precision of the parameters."""
    maps: OcclusionMaps | None
    """What the occlusion module made of the faces; None without one."""


class OcclusionAdaptiveNet(nn.Module):
    """Regresses landmarks from crops; takes uint8 RGB as it comes and normalises it itself.

    Args:
        trunk: Gives Z and, by `last_unit`, F_in: ODN's pathway C, ADODN's pathway D.
        geometry: The geometry-aware module, or None.
        occlusion: The distillation or the attentive dropout module, or None.
        grid: Side to which the joined maps are down-sampled.
        num_landmarks: L.
        rank_width: k of the low-rank module; None: linear layers instead.
        hidden_width: Width of a hidden layer with LeakyReLU before the last; None: one linear layer alone.
    """

    def __init__(
        self,
        *,
        trunk: Trunk,
        geometry: GeometryModule | None,
        occlusion: Distillation | None,
        grid: int,
        num_landmarks: int,
        rank_width: int | None,
        hidden_width: int | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.geometry = geometry
        self.occlusion = occlusion
        self.downsample = MeanPool2d(grid)
        channels = trunk.channels + (geometry.channels if geometry else 0)
        num_features, num_outputs = channels * grid * grid, 2 * num_landmarks
        self.head = (
            LowRankHead(num_features, rank_width, num_outputs)
            if rank_width
            else linear_head(num_features, hidden_width, num_outputs)
        )
        last = last_layer(self.head)
        # Every landmark starts near the middle of the crop, so that the first steps need not travel there.
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.constant_(last.bias, 0.5)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def low_rank_matrix(self) -> Tensor | None:
        """M `[d, k]`, or None without a low-rank module."""
        return self.head.matrix if isinstance(self.head, LowRankHead) else None

    def forward(self, images: Tensor, drop: Tensor | None = None) -> Prediction:
        """Predict landmarks.

        Args:
            images: `[B, 3, S, S]`, RGB, 0 … 255, uint8 or float.
            drop: `[B]` bool, as the occlusion module takes it; None outside training.
        """
        images = (images.float() - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        features = self.trunk(images)
        joined, maps = self.trunk.last_unit(features), None
        if self.occlusion is not None:
            joined, maps = self.occlusion(features, joined, drop)
        if self.geometry is not None:
            joined = torch.cat((self.geometry(features), joined), dim=1)
        # fp32 from here on: a landmark's third digit is lost in bf16.
        with torch.autocast(images.device.type, enabled=False):
            outputs = self.head(self.downsample(at_least_fp32(joined)).flatten(1))
        return Prediction(outputs.view(outputs.shape[0], -1, 2), maps)


def linear_head(num_features: int, hidden_width: int | None, num_outputs: int) -> nn.Module:
    """Linear regression, or the two layers that end Table I of the SepBN paper."""
    if hidden_width is None:
        return nn.Linear(num_features, num_outputs)
    hidden = nn.Linear(num_features, hidden_width)
    nn.init.kaiming_normal_(hidden.weight, a=SLOPE, nonlinearity="leaky_relu")
    return nn.Sequential(hidden, nn.LeakyReLU(SLOPE, inplace=True), nn.Linear(hidden_width, num_outputs))


def last_layer(head: nn.Module) -> nn.Linear:
    """The layer of a regressor that puts out coordinates."""
    if isinstance(head, LowRankHead):
        return head.fc
    return cast(nn.Linear, head[-1] if isinstance(head, nn.Sequential) else head)
