"""ResNet-18 (He et al., CVPR 2016) with torchvision's parameter names, so that its ImageNet weights load as they are.

Not here: the classifier. The last residual unit, `layer4.1`, is called apart, because the occlusion-adaptive head takes
its place (ADODN §III-A, ODN §3).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a short cut: `relu(x + residual(x))`."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = norm(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, channels, H / stride, W / stride]`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return cast(Tensor, self.relu(residual + shortcut))


class ResNet18(nn.Module):
    """The trunk up to `layer4.0`, with `layer4.1` beside it.

    Args:
        norm: Makes the normalisation for a number of channels.
    """

    channels = 512

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(64, 64, 1, norm)
        self.layer2 = _stage(64, 128, 2, norm)
        self.layer3 = _stage(128, 256, 2, norm)
        self.layer4 = _stage(256, 512, 2, norm)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images `[B, 3, S, S]` → Z `[B, 512, S / 32, S / 32]`, before the last residual unit."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return cast(Tensor, self.layer4[0](x))

    def last_unit(self, features: Tensor) -> Tensor:
        """Z → F_in, both `[B, 512, H, W]`, through `layer4.1`."""
        return cast(Tensor, self.layer4[1](features))


def _stage(in_channels: int, channels: int, stride: int, norm: Norm) -> nn.Sequential:
    blocks = (BasicBlock(in_channels, channels, stride, norm), BasicBlock(channels, channels, 1, norm))
    return nn.Sequential(OrderedDict((str(i), block) for i, block in enumerate(blocks)))
