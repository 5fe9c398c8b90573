"""ResNeXt-50 32×4d (Xie et al., CVPR 2017) with torchvision's parameter names, without its classifier.

features = ResNeXt50(nn.BatchNorm2d)(images)
"""

from typing import ClassVar, cast

from torch import Tensor, nn

from adodn.models.resnet import Norm, ResNet, shortcut

_GROUPS = 32
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3 in 32 groups, 1×1, and a short cut: `relu(x + residual(x))`."""

    last_norm: ClassVar[str] = "bn3"
    """Name of the batch norm before the sum: BN3 of the SepBN paper's Fig. 6."""

    def __init__(self, in_channels: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        # 4 channels a group in the first stage, where the width is 64: always twice the width.
        inside, channels = 2 * width, _EXPANSION * width
        self.conv1 = nn.Conv2d(in_channels, inside, 1, bias=False)
        self.bn1 = norm(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride, 1, groups=_GROUPS, bias=False)
        self.bn2 = norm(inside)
        self.conv3 = nn.Conv2d(inside, channels, 1, bias=False)
        self.bn3 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, 4 · width, H / stride, W / stride]`."""
        identity = x if self.downsample is None else self.downsample(x)
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        return cast(Tensor, self.relu(self.bn3(self.conv3(residual)) + identity))


class ResNeXt50(ResNet):
    """The trunk up to `layer4.1`, with `layer4.2` beside it; Z has 2,048 channels."""

    channels: ClassVar[int] = 2048

    def __init__(self, norm: Norm) -> None:
        super().__init__(Bottleneck, _EXPANSION, (3, 4, 6, 3), norm)
