"""The optimiser of an experiment, its parameters grouped by weight decay and learning rate.

optimiser = build_optimiser(network, config)

When learning rates change is not here, but in `schedule.py`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from adodn.config import ExperimentConfig
from adodn.errors import ConfigError
from adodn.models.low_rank import LowRankHead

TRUNK = "trunk."
"""What the names of the trunk's parameters begin with."""


def build_optimiser(network: nn.Module, config: ExperimentConfig) -> torch.optim.Optimizer:
    """The optimiser of all parameters that train.

    Raises:
        ConfigError: If the trunk has a learning rate of its own and nothing in it trains.
    """
    groups, train = parameter_groups(network, config), config.train
    if train.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=train.learning_rate, momentum=train.momentum, fused=True)
    return torch.optim.Adam(groups, lr=train.learning_rate, fused=True)


def parameter_groups(network: nn.Module, config: ExperimentConfig) -> list[dict[str, Any]]:
    """Parameters by learning rate and by the squared Frobenius norm that Eq. 6 puts on them; the trunk's come last.

    The gradient of α‖W‖² is 2αW, which is a coupled weight decay of 2α. Batch norms and biases carry none. Frozen
    parameters are in no group.

    Raises:
        ConfigError: If the trunk has a learning rate of its own and nothing in it trains.
    """
    own_rate = config.train.trunk_learning_rate
    members: dict[tuple[bool, str], list[Tensor]] = {}
    for path, module in network.named_modules():
        in_trunk = own_rate is not None and f"{path}.".startswith(TRUNK)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                members.setdefault((in_trunk, _kind_of(module, name)), []).append(parameter)
    if own_rate is not None and not any(in_trunk for in_trunk, _ in members):
        raise ConfigError(
            f"config field train.trunk_learning_rate is {own_rate!r}, but no parameter named {TRUNK}… trains; "
            f"set it to null, or freeze less"
        )
    decays, rates = _decays(config), {False: config.train.learning_rate, True: own_rate}
    return [
        # `initial_lr` is torch's name for what schedules scale.
        {"params": members[in_trunk, kind], "weight_decay": decays[kind], "initial_lr": rates[in_trunk]}
        for in_trunk, kind in sorted(members)
    ]


def _decays(config: ExperimentConfig) -> dict[str, float]:
    loss, everywhere = config.loss, config.train.weight_decay
    return {
        "matrix": 2 * loss.low_rank_decay + everywhere,
        "convolutions": 2 * loss.convolution_decay + everywhere,
        "head": 2 * loss.head_decay + everywhere,
        "free": 0.0,
    }


def _kind_of(module: nn.Module, name: str) -> str:
    if isinstance(module, LowRankHead):
        return "matrix"
    # Whatever keeps running statistics is a batch norm, also where its scales are a matrix.
    if name == "bias" or hasattr(module, "running_mean"):
        return "free"
    return "head" if isinstance(module, nn.Linear) else "convolutions"
