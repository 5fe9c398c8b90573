"""MobileNetV2 (Sandler et al., CVPR 2018) with torchvision's parameter names, without its classifier.

features = MobileNetV2(nn.BatchNorm2d)(images)

Not here: a last residual unit. The network ends in units that change the number of channels, so there is none that the
occlusion-adaptive head could replace; Z is the whole network's answer.
"""

from typing import ClassVar, cast

from torch import Tensor, nn

from adodn.models.resnet import Norm

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion t, channels c, units n, stride s of the first: the paper's Table 2."""


class InvertedResidual(nn.Module):
    """1×1 expansion (none if t = 1), 3×3 on each channel, 1×1 projection without ReLU; a short cut if shapes agree."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int, norm: Norm) -> None:
        super().__init__()
        inside = in_channels * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv(in_channels, inside, 1, 1, 1, norm)]
        layers += [
            _conv(inside, inside, 3, stride, inside, norm),
            nn.Conv2d(inside, channels, 1, bias=False),
            norm(channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == channels
        self.last_norm = f"conv.{len(layers) - 1}"
        """Name of the batch norm after the projection: BN3 of the SepBN paper's Fig. 6."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, channels, H / stride, W / stride]`."""
        answer = cast(Tensor, self.conv(x))
        return x + answer if self.has_shortcut else answer


class MobileNetV2(nn.Module):
    """The whole network but the classifier; Z has 1,280 channels.

    Args:
        norm: Makes the normalisation for a number of channels.
    """

    channels: ClassVar[int] = 1280
    classifier: ClassVar[str] = "classifier."
    """How the names of the classifier's weights begin, which the trunk lacks."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 32, 3, 2, 1, norm)]
        inside = 32
        for expansion, channels, count, stride in _STAGES:
            for unit in range(count):
                layers.append(InvertedResidual(inside, channels, 1 if unit else stride, expansion, norm))
                inside = channels
        layers.append(_conv(inside, self.channels, 1, 1, 1, norm))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images `[B, 3, S, S]` → Z `[B, 1280, S / 32, S / 32]`."""
        return cast(Tensor, self.features(images))

    def last_unit(self, features: Tensor) -> Tensor:
        """Z as it is: there is no residual unit at the end."""
        return features


def _conv(in_channels: int, channels: int, kernel: int, stride: int, groups: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        norm(channels),
        nn.ReLU6(inplace=True),
    )
