"""Which protocols this process knows by name: the built-in ones, and those that were registered.

Not here: files (`toml_file`). What is registered holds for this process alone; another must register it again.

    register(mine); named("mine")
"""

from adodn.errors import ConfigError
from adodn.protocols.definitions import BUILT_IN
from adodn.protocols.layout import LandmarkProtocol

_known = {protocol.name: protocol for protocol in BUILT_IN}


def named(name: str) -> LandmarkProtocol:
    """The protocol of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in _known:
        raise ConfigError(
            f"unknown landmark protocol {name!r}; available: {', '.join(_known)}, or the path of a .toml file"
        )
    return _known[name]


def register(protocol: LandmarkProtocol) -> None:
    """Make a protocol known by its name to this process; the same one again changes nothing.

    Raises:
        ConfigError: If the name is that of another protocol.
    """
    if _known.setdefault(protocol.name, protocol) != protocol:
        raise ConfigError(
            f"protocol {protocol.name!r} is known already and is another one; give yours a name of its own"
        )
