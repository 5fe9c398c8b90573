"""How the workers of a Ray training find each other: over the network by which Ray reaches their nodes.

    TorchTrainer(…, torch_config=ProcessGroup(backend="gloo", timeout_s=600))

torch asks the machine's name for its address. That is loopback on Debian and its kin, where no other machine is heard.
"""

import os
from contextlib import suppress
from typing import Any

import psutil
import ray.util
from ray.exceptions import OutOfMemoryError
from ray.train.torch import TorchConfig


class ProcessGroup(TorchConfig):  # type: ignore[misc]  # Ray is not typed
    """Ray's configuration of torch's process group, on the interface of the node's own address."""

    @property
    def backend_cls(self) -> type:
        """What sets the group up."""
        return _Backend


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]  # Ray's own is behind this property alone
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Called by Ray when the workers are there."""
        worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Called by Ray at the group's end, also when it is about to start another one."""
        # Of a worker that its monitor of memory killed, Ray knows only of the error, not that it is dead.
        with suppress(OutOfMemoryError):
            super().on_shutdown(worker_group, backend_config)


def _choose_interface() -> None:
    """Name the interface to gloo and NCCL, unless the user did."""
    if name := interface_of(ray.util.get_node_ip_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")  # without the mark any that begins so


def interface_of(address: str) -> str | None:
    """The network interface that has an address; None: none of this machine has."""
    interfaces: dict[str, list[Any]] = psutil.net_if_addrs()
    return next((name for name, found in interfaces.items() if address in [one.address for one in found]), None)
