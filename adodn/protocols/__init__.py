"""Landmark protocols: how many points, what they are, how they flip, and what normalises an error.

Built in are "5" (MTFL), "19" and "21" (AFLW), "29" (COFW), "68" (300W), "98" (WFLW) and "106" (LaPa); a protocol of
one's own comes from a TOML file (`toml_file`). Maps from one to another are in `maps`.

    protocols.get("68").num_landmarks
"""

from adodn.errors import ConfigError
from adodn.protocols import toml_file
from adodn.protocols.catalogue import named, register
from adodn.protocols.definitions import BUILT_IN
from adodn.protocols.layout import LandmarkProtocol, Points
from adodn.protocols.plain import protocol_from_json, protocol_to_json

__all__ = ["LandmarkProtocol", "Points", "get", "own_definition", "protocol_from_json", "protocol_to_json", "register"]


def get(name: str, definition: str = "") -> LandmarkProtocol:
    """The protocol of that name, or that of a file.

    Args:
        name: A built-in or registered name, or the path of a `.toml` file.
        definition: The protocol itself, where it is not built in: what `own_definition` gave.

    Raises:
        ConfigError: If there is none, or the file or the definition breaks the format, or has another name.
    """
    if definition:
        protocol = protocol_from_json(definition, where=f"definition of protocol {name!r}")
        if protocol.name != name:
            raise ConfigError(f"definition of protocol {name!r}: its name must be that, got {protocol.name!r}")
        return protocol
    return toml_file.load(name).protocol if toml_file.is_file_name(name) else named(name)


def own_definition(protocol: LandmarkProtocol) -> str:
    """What a manifest or a model carries of a protocol so that it is known wherever they go: nothing if it is built in.

    Raises:
        ConfigError: If a name in it is one that a file cannot hold.
    """
    return "" if protocol in BUILT_IN else protocol_to_json(protocol)
