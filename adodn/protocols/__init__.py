"""Landmark protocols: how many points, what they are, how they flip, and what normalises an error.

Built in are "5" (MTFL), "19" and "21" (AFLW), "29" (COFW), "68" (300W), "98" (WFLW) and "106" (LaPa); a protocol of
one's own comes from a TOML file (`toml_file`). Maps from one to another are in `maps`.

    protocols.get("68").num_landmarks
"""

from adodn.protocols import toml_file
from adodn.protocols.catalogue import named, register
from adodn.protocols.layout import LandmarkProtocol, Points
from adodn.protocols.plain import protocol_from_json, protocol_to_json

__all__ = ["LandmarkProtocol", "Points", "get", "protocol_from_json", "protocol_to_json", "register"]


def get(name: str) -> LandmarkProtocol:
    """The protocol of that name, or that of a file.

    Args:
        name: A built-in or registered name, or the path of a `.toml` file.

    Raises:
        ConfigError: If there is none, or the file breaks the format.
    """
    return toml_file.load(name).protocol if toml_file.is_file_name(name) else named(name)
