"""ResNet-18 (He et al., CVPR 2016) with torchvision's parameter names, so that its ImageNet weights load as they are.

    features = ResNet18(nn.BatchNorm2d)(images)

Not here: the classifier. The last residual unit is called apart, because the occlusion-adaptive head takes its place
(ADODN §III-A, ODN §3).
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Makes the normalisation for a number of channels."""

Block = Callable[[int, int, int, Norm], nn.Module]
"""Makes a residual unit of (channels in, width, stride, norm)."""


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a short cut: `relu(x + residual(x))`."""

    last_norm: ClassVar[str] = "bn2"
    """Name of the batch norm before the sum."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = norm(channels)
        self.downsample = shortcut(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, channels, H / stride, W / stride]`."""
        identity = x if self.downsample is None else self.downsample(x)
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return cast(Tensor, self.relu(residual + identity))


def shortcut(in_channels: int, channels: int, stride: int, norm: Norm) -> nn.Module | None:
    """A 1×1 convolution where a unit changes its input's shape, else None: the input itself."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), norm(channels))


class ResNet(nn.Module):
    """The trunk up to the last residual unit, with that unit beside it.

    Args:
        block: Makes a residual unit.
        expansion: Channels that a unit gives, as a multiple of its width.
        depths: Units in each of the four stages.
        norm: Makes the normalisation for a number of channels.
    """

    classifier: ClassVar[str] = "fc."
    """How the names of the classifier's weights begin, which the trunk lacks."""

    def __init__(self, block: Block, expansion: int, depths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(block, 64, 64, expansion, depths[0], 1, norm)
        self.layer2 = _stage(block, 64 * expansion, 128, expansion, depths[1], 2, norm)
        self.layer3 = _stage(block, 128 * expansion, 256, expansion, depths[2], 2, norm)
        self.layer4 = _stage(block, 256 * expansion, 512, expansion, depths[3], 2, norm)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images `[B, 3, S, S]` → Z `[B, channels, S / 32, S / 32]`, before the last residual unit."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer3(self.layer2(self.layer1(x)))
        for unit in list(self.layer4)[:-1]:
            x = unit(x)
        return cast(Tensor, x)

    def last_unit(self, features: Tensor) -> Tensor:
        """Z → F_in, both `[B, channels, H, W]`, through the last unit of `layer4`."""
        return cast(Tensor, self.layer4[-1](features))


class ResNet18(ResNet):
    """The trunk up to `layer4.0`, with `layer4.1` beside it; Z has 512 channels."""

    channels: ClassVar[int] = 512

    def __init__(self, norm: Norm) -> None:
        super().__init__(BasicBlock, 1, (2, 2, 2, 2), norm)


def _stage(
    block: Block, in_channels: int, width: int, expansion: int, depth: int, stride: int, norm: Norm
) -> nn.Sequential:
    units = [block(in_channels, width, stride, norm)]
    units += [block(width * expansion, width, 1, norm) for _ in range(depth - 1)]
    return nn.Sequential(*units)
