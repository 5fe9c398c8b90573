"""The backbones by name, one shape of use for all of them.

    trunk = build_trunk(config.model, norm)
    features = trunk(images)
    unit = trunk.last_unit(features)

Not here: heads, and where ImageNet weights come from (`weights.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, cast

from torch import Tensor, nn

from adodn.config import ModelConfig, SepBNConfig
from adodn.models.batch_norm import SynchronisedBatchNorm2d, VirtualBatchNorm2d
from adodn.models.conversion import block_ends, convert, everywhere
from adodn.models.mobilenet import MobileNetV2
from adodn.models.resnet import Norm, ResNet18
from adodn.models.resnext import ResNeXt50
from adodn.models.sepbn import BatchNorm, SepBN2d
from adodn.models.vanilla_cnn import VanillaCNN


class Trunk(Protocol):
    """A convolutional network without its classifier; always an `nn.Module` as well."""

    channels: int
    """C of Z and of F_in."""
    classifier: str
    """How the names of the classifier's weights begin, where a file of weights has one."""

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images `[B, 3, S, S]` → Z `[B, C, H, W]`."""
        ...

    def last_unit(self, features: Tensor) -> Tensor:
        """Z → F_in `[B, C, H, W]`: through the last residual unit, or Z itself where a network ends otherwise."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Parameters and buffers by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Take over parameters and buffers."""
        ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """All modules inside by name."""
        ...


_TRUNKS: dict[str, Callable[[Norm], nn.Module]] = {
    "resnet18": ResNet18,
    "resnext50_32x4d": ResNeXt50,
    "mobilenet_v2": MobileNetV2,
    "vanilla_cnn": VanillaCNN,
}


def norm_of(model: ModelConfig) -> Norm:
    """What makes the batch norms of a config's network."""
    if model.batch_norm == "synchronised":
        return SynchronisedBatchNorm2d
    return partial(VirtualBatchNorm2d, faces=model.batch_norm_faces)


def build_trunk(model: ModelConfig, norm: Norm) -> Trunk:
    """The backbone of a config, its weights random, with SepBN where the config places it.

    Raises:
        ConfigError: If SepBN's groups do not divide the channels of a batch norm.
    """
    trunk = _TRUNKS[model.backbone](norm)
    if model.sepbn.placement != "none":
        place = everywhere if model.sepbn.placement == "all" else block_ends(trunk)
        convert(trunk, partial(sepbn_of, model.sepbn), place)
    return cast(Trunk, trunk)


def sepbn_of(sepbn: SepBNConfig, norm: BatchNorm) -> SepBN2d:
    """A config's SepBN on a batch norm, which it takes for its own."""
    return SepBN2d(
        norm.num_features,
        sepbn.branches,
        sepbn.groups,
        sepbn.pool,
        norm=norm,
        aggregation=sepbn.aggregation,
        attention=sepbn.attention,
        hidden=sepbn.hidden,
    )
