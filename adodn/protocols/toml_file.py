"""A user's own protocol in a small TOML file, and a protocol written as one. Nothing in a file is ever executed.

    name = "thumbs"
    num_landmarks = 5
    flip_pairs = [[0, 1], [3, 4]]           # the others lie on the midline; or flip = [1, 0, 2, 4, 3]
    names = ["right_pupil", "left_pupil", "nose_tip", "right_mouth_corner", "left_mouth_corner"]    # optional

    [normalisers]                           # optional; the person's right, then the left
    pupils = [[0], [1]]

    [parts]                                 # optional; in drawing order, closed_parts = ["mouth"] joins the ends
    mouth = [3, 4]

    [map_from.68]                           # optional: how 68 gives this protocol; [map.68] is the other way round
    points = [[36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47], [30], [48], [54]]
    residual = 0.02                         # in outer-eye distances; or exact = true

load("thumbs.toml").protocol
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adodn.errors import ConfigError
from adodn.protocols.catalogue import named
from adodn.protocols.layout import LandmarkProtocol, Points
from adodn.protocols.mapping import ProtocolMap
from adodn.protocols.plain import as_points, as_table, from_plain, refuse, to_plain

MAX_BYTES = 200_000
"""Many times what the largest protocol needs."""

_MAP_KEYS = ("points", "exact", "residual")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProtocolFile:
    """What a file holds."""

    protocol: LandmarkProtocol
    maps: tuple[ProtocolMap, ...] = ()
    """From the protocol to known ones, and back."""


def is_file_name(name: str) -> bool:
    """Whether a protocol's name means a file."""
    return name.endswith(".toml")


def load(path: Path | str) -> ProtocolFile:
    """Read a protocol and its maps.

    Raises:
        ConfigError: If the file cannot be read, is too large, or breaks the format; the message names file, key, rule
            and value.
    """
    where = str(path)
    data = _parsed(_read(Path(path), where), where)
    outwards, inwards = data.pop("map", {}), data.pop("map_from", {})
    protocol = from_plain(data, where=where)
    maps = [
        *(_map(entry, protocol, other, where, f"map.{other.name}") for other, entry in _others(outwards, where, "map")),
        *(
            _map(entry, other, protocol, where, f"map_from.{other.name}")
            for other, entry in _others(inwards, where, "map_from")
        ),
    ]
    return ProtocolFile(protocol=protocol, maps=tuple(maps))


def to_toml(protocol: LandmarkProtocol) -> str:
    """The protocol as a file that `load` reads back to an equal one.

    Raises:
        ConfigError: If a name in it is one that a file cannot hold.
    """
    plain = to_plain(protocol)
    tables = {key: plain.pop(key) for key in ("normalisers", "parts")}
    lines = [_line(key, value) for key, value in plain.items()]
    for key, table in tables.items():
        lines += ["", f"[{key}]", *(_line(name, value) for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _line(key: str, value: object) -> str:
    return f"{key} = {json.dumps(value)}"  # words, numbers and lists of them read the same in JSON and TOML


def _read(path: Path, where: str) -> bytes:
    try:
        if not path.is_file():
            raise ConfigError(f"{where}: a protocol is a file, and there is none; give a path, or a built-in name")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where}: a protocol's file has at most {MAX_BYTES} bytes, got {path.stat().st_size}")
    return data


def _parsed(data: bytes, where: str) -> dict[str, object]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, a number too long, lists too deep
        raise ConfigError(f"{where}: must be TOML: {error}") from None


def _others(value: object, where: str, key: str) -> list[tuple[LandmarkProtocol, Mapping[str, object]]]:
    """The known protocols that a table of maps names, each with its entry."""
    found = []
    for name, entry in as_table(value, where=where, key=key).items():
        try:
            other = named(name)
        except ConfigError as error:
            raise ConfigError(f"{where}: {key}.{name}: {error}") from None
        found.append((other, as_table(entry, where=where, key=f"{key}.{name}", allowed=_MAP_KEYS)))
    return found


def _map(
    entry: Mapping[str, object], source: LandmarkProtocol, target: LandmarkProtocol, where: str, key: str
) -> ProtocolMap:
    exact, residual = _quality(entry, where, key)
    rows = _rows(entry.get("points"), source, target, where, f"{key}.points")
    try:
        return ProtocolMap(source=source, target=target, rows=rows, exact=exact, residual=residual)
    except ConfigError as error:
        raise ConfigError(f"{where}: {key}: {error}") from None


def _quality(entry: Mapping[str, object], where: str, key: str) -> tuple[bool, float]:
    exact = entry.get("exact", False)
    if not isinstance(exact, bool):
        refuse(where, f"{key}.exact", "be true or false", exact)
    if not exact and "residual" not in entry:
        refuse(where, key, "have a residual, or exact = true", sorted(entry))
    residual = entry.get("residual", 0.0)
    if isinstance(residual, bool) or not isinstance(residual, int | float) or not 0 <= residual <= 1:
        refuse(where, f"{key}.residual", "be a number 0 … 1, in outer-eye distances", residual)
    return exact, float(residual)


def _rows(
    value: object, source: LandmarkProtocol, target: LandmarkProtocol, where: str, key: str
) -> tuple[Points, ...]:
    if not isinstance(value, list) or len(value) != target.num_landmarks:
        refuse(where, key, f"be a list of {target.num_landmarks} lists of points of {source.name!r}", value)
    return tuple(
        as_points(row, source.num_landmarks, where=where, key=f"{key}[{place}]") for place, row in enumerate(value)
    )
