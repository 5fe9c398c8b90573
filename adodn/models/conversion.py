"""Put other layers in the place of a network's batch norms, which go on where those stood.

    convert(network, lambda norm: SepBN2d(norm.num_features, norm=norm), named("bn3"))

Works on any `nn.Module`. What the layers compute is theirs (`sepbn.py`).
"""

from collections.abc import Callable

from torch import nn

from adodn.errors import ConfigError
from adodn.models.sepbn import BatchNorm, BruteForceSepBN2d, SepBN2d

Placement = Callable[[str], bool]
"""Whether the batch norm of that name, as `named_modules` says it, is replaced."""


def everywhere(name: str) -> bool:
    """All batch norms: the paper's choice for Vanilla CNN."""
    return True


def named(leaf: str) -> Placement:
    """Those whose own name is `leaf`, e.g. `bn3` for the third of every bottleneck of a ResNet or ResNeXt."""
    return lambda name: name.rpartition(".")[2] == leaf


def block_ends(network: nn.Module) -> Placement:
    """The last batch norm of each residual unit of our trunks: BN3 of the paper's Fig. 6, best in bottlenecks."""
    blocks = ((name, getattr(module, "last_norm", None)) for name, module in network.named_modules())
    names = {f"{name}.{last}" for name, last in blocks if last is not None}
    return names.__contains__


def convert(network: nn.Module, make: Callable[[BatchNorm], nn.Module], place: Placement = everywhere) -> nn.Module:
    """Replace batch norms, in place; those inside SepBN layers stay.

    Args:
        network: Any network; virtual and synchronised batch norms count as well.
        make: The new layer for an old one, whose parameters, statistics, device and mode it takes over.
        place: Which to replace.

    Returns:
        The network, or the new layer if the network was itself a batch norm.

    Raises:
        ConfigError: If no batch norm is at such a place.
    """
    found = {name: norm for name, norm in _norms(network, "") if place(name)}
    if not found:
        raise ConfigError(f"no batch norm of {type(network).__name__} is at the place asked for; choose another place")
    for name, norm in found.items():
        layer = make(norm).train(norm.training)
        if not name:
            return layer
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, layer)
    return network


def _norms(module: nn.Module, name: str) -> list[tuple[str, BatchNorm]]:
    if isinstance(module, BatchNorm):
        return [(name, module)]
    if isinstance(module, (SepBN2d, BruteForceSepBN2d)):
        return []
    children = ((f"{name}.{leaf}" if name else leaf, child) for leaf, child in module.named_children())
    return [found for path, child in children for found in _norms(child, path)]
