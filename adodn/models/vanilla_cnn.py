"""Vanilla CNN, the SepBN paper's own backbone (its Table I): six times 3×3 convolution, BN, LeakyReLU, max pool.

    features = VanillaCNN(nn.BatchNorm2d)(images)

Not here: the table's two linear layers, which are the network's head (`ModelConfig.hidden_width`).
"""

from typing import ClassVar, cast

from torch import Tensor, nn

from adodn.models.resnet import Norm

SLOPE = 0.01
"""Of LeakyReLU, below Table I."""

_WIDTHS = (64, 128, 256, 512, 1024, 2048)


class VanillaCNN(nn.Module):
    """The table's convolutions; Z has 2,048 channels.

    The convolutions have no bias: the batch norm after each takes it away again.

    Args:
        norm: Makes the normalisation for a number of channels.
    """

    channels: ClassVar[int] = 2048
    classifier: ClassVar[str] = "fc."
    """How the names of a classifier's weights begin, which the trunk lacks."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for inside, width in zip((3, *_WIDTHS), _WIDTHS, strict=False):
            conv = nn.Conv2d(inside, width, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, a=SLOPE, mode="fan_out", nonlinearity="leaky_relu")
            self.blocks.append(nn.Sequential(conv, norm(width), nn.LeakyReLU(SLOPE, inplace=True), nn.MaxPool2d(2)))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images `[B, 3, S, S]` → Z `[B, 2048, S / 64, S / 64]`."""
        return cast(Tensor, self.blocks(images))

    def last_unit(self, features: Tensor) -> Tensor:
        """Z as it is: there is no residual unit at the end."""
        return features
