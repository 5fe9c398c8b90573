"""Free ports, for a stack beside whatever else runs on this machine."""

import random
import socket

from adodn.errors import StackError
from infra.config import StackPorts, require_free

_PORT_BASES = range(11_000, 22_000, 20)
"""Below the system's ephemeral range, twins at +10000 included."""


def free_ports() -> StackPorts:
    """Ports for a stack of its own."""
    for base in random.sample(_PORT_BASES, 100):
        ports = StackPorts(**{name: base + offset for offset, name in enumerate(StackPorts.model_fields)})
        try:
            require_free(ports)
        except StackError:
            continue
        return ports
    raise AssertionError("no free ports for a stack")


def free_port() -> int:
    """One that nothing listens on, for a server that is not the stack's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
