"""Parts of a network that do not train.

freeze(network, ("trunk.",))    # before it is wrapped for data-parallel training
hold(network, ("trunk.",))      # after each `network.train()`
"""

from torch import nn

from adodn.errors import ConfigError


def freeze(network: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Stop the training of parameters whose names begin with one of `prefixes`.

    Raises:
        ConfigError: If a prefix matches nothing, or nothing is left that trains.
    """
    parameters = dict(network.named_parameters())
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in parameters):
            parts = ", ".join(dict.fromkeys(f"{name.partition('.')[0]}." for name in parameters))
            raise ConfigError(
                f"config field train.freeze must name parameters of the network, but none begins with {prefix!r}; "
                f"theirs begin with {parts}"
            )
    for name, parameter in parameters.items():
        if name.startswith(prefixes):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"config field train.freeze leaves nothing to train, got {list(prefixes)!r}; freeze less")


def hold(network: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Put frozen modules into evaluation mode, where batch norms use their running statistics and keep them."""
    for path, module in network.named_modules():
        if path and f"{path}.".startswith(prefixes):
            module.eval()
