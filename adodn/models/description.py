"""What a network is made of and what a face costs: parameters, multiply-accumulates, memory, layer by layer.

    description = describe(config.model)
    description.macs

By one forward pass over a black picture. (torch's meta device would spare that, but knows no autocast.)

Not here: time, which `make bench` measures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adodn import models
from adodn.config import ModelConfig

_BYTES = 4
"""Of an fp32 number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One module, without those inside it."""

    name: str
    kind: str
    """Its class."""
    output: tuple[int, ...]
    """Shape for one face, without the batch; empty where it gives no tensor."""
    parameters: int
    """Its own, trained or not, without buffers."""
    macs: int
    """Multiply-accumulates of its own convolutions and products of matrices, for one face. Element-wise work (norms,
    activations, pools, the outer product) is none."""
    activation_bytes: int
    """Memory of what it gives that no module inside gave before, for one face in fp32; 0 if it works in place. What it
    makes on the way and no module gives (the outer product) is not seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """All layers that have parameters, work or memory of their own, in the order they ran."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """What all layers give, kept at once as training does, for one face in fp32."""
        return sum(layer.activation_bytes for layer in self.layers)


def describe(model: ModelConfig) -> Description:
    """Describe the network of a config.

    Raises:
        ConfigError: As `models.build`.
    """
    return describe_module(models.build(model).eval(), torch.zeros(1, 3, model.input_px, model.input_px))


def describe_module(network: nn.Module, images: Tensor) -> Description:
    """Describe any network by one forward pass over a batch of one, on whatever device it is."""
    recorder = _Recorder()
    handles = [handle for name, module in network.named_modules() for handle in recorder.watch(name, module)]
    try:
        with torch.no_grad(), recorder.counter:
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return Description(layers=tuple(recorder.layers()))


@dataclass
class _Seen:
    """What one module did, over all its calls."""

    name: str
    module: nn.Module
    outputs: list[Tensor] = field(default_factory=list)
    flops: int = 0
    """Its own, without those of modules inside."""
    new: int = 0
    """Numbers that it gave and no module inside did."""


class _Recorder:
    """Listens to a forward pass."""

    def __init__(self) -> None:
        self.counter = FlopCounterMode(display=False)
        self._seen: dict[str, _Seen] = {}
        self._inside: list[int] = [0]
        """For each module that is running, the operations of modules inside it so far."""
        self._given: list[Tensor] = []
        """All that was given; kept, so that none of them is mistaken for a later one."""

    def watch(self, name: str, module: nn.Module) -> Iterator[Any]:
        """Hooks on a module; remove them by the handles."""
        seen = self._seen[name] = _Seen(name, module)
        began: list[int] = []

        def enter(*_: Any) -> None:
            began.append(self.counter.get_total_flops())
            self._inside.append(0)

        def leave(_module: nn.Module, _inputs: Any, output: Any) -> None:
            flops = self.counter.get_total_flops() - began.pop()
            seen.flops += flops - self._inside.pop()
            self._inside[-1] += flops
            seen.outputs = [value for value in _members(output) if isinstance(value, Tensor)]
            fresh = [value for value in seen.outputs if all(value is not given for given in self._given)]
            seen.new += sum(value.numel() for value in fresh)
            self._given += fresh

        yield module.register_forward_pre_hook(enter)
        yield module.register_forward_hook(leave)

    def layers(self) -> Iterator[Layer]:
        """What was heard, without modules that only hold others."""
        for seen in self._seen.values():
            own = sum(parameter.numel() for parameter in seen.module.parameters(recurse=False))
            if not (own or seen.flops or seen.new):
                continue
            yield Layer(
                name=seen.name,
                kind=type(seen.module).__name__,
                output=tuple(seen.outputs[0].shape[1:]) if seen.outputs else (),
                parameters=own,
                macs=seen.flops // 2,
                activation_bytes=_BYTES * seen.new,
            )


def _members(output: Any) -> list[Any]:
    return list(output) if isinstance(output, (tuple, list)) else [output]
