"""A protocol as plain values, such as JSON and TOML hold, and back with every value checked.

It lets a protocol travel with a dataset's manifest and a model's config. Not here: files (`toml_file`), and maps.

    protocol_from_json(protocol_to_json(mine), where="model.json")
"""

import json
import re
import reprlib
from collections.abc import Mapping
from typing import Any, NoReturn

from adodn.errors import ConfigError
from adodn.protocols.definitions import BUILT_IN
from adodn.protocols.layout import LandmarkProtocol, Points

MAX_LANDMARKS = 1000
"""Above any face protocol known; more is a mistake."""
MAX_JSON_CHARACTERS = 200_000

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}", re.ASCII)
_WORD_RULE = "1 to 60 letters, digits, `_` and `-` that start with a letter or digit"
_KEYS = ("name", "num_landmarks", "flip", "flip_pairs", "normalisers", "parts", "closed_parts", "names")
_BUILT_IN = {protocol.name: protocol for protocol in BUILT_IN}


def to_plain(protocol: LandmarkProtocol) -> dict[str, Any]:
    """Lists, tables, strings and numbers alone, which `from_plain` makes the same protocol of.

    Raises:
        ConfigError: If a name in it is one that a file cannot hold.
    """
    plain: dict[str, Any] = {
        "name": protocol.name,
        "num_landmarks": protocol.num_landmarks,
        "flip": list(protocol.flip),
        "names": list(protocol.names),
        "closed_parts": sorted(protocol.closed_parts),
        "normalisers": {name: [list(right), list(left)] for name, (right, left) in protocol.normalisers.items()},
        "parts": {name: list(points) for name, points in protocol.parts.items()},
    }
    from_plain(plain, where=f"protocol {protocol.name!r}")
    return plain


def from_plain(data: object, *, where: str) -> LandmarkProtocol:
    """The protocol that plain values describe.

    Args:
        data: What TOML or JSON gave; `to_plain` shows the keys. `flip_pairs`, the pairs of points that change places,
            may stand for `flip`; `normalisers`, `parts`, `closed_parts` and `names` may be left out.
        where: The file, for messages.

    Raises:
        ConfigError: If a key is missing, unknown or wrong, or a built-in protocol of that name is another one.
    """
    table = as_table(data, where=where, key="a protocol", allowed=_KEYS)
    name = as_word(table.get("name"), where=where, key="name")
    count = _count(table.get("num_landmarks"), where)
    parts = _parts(table.get("parts", {}), count, where)
    protocol = _built(
        where,
        name=name,
        num_landmarks=count,
        flip=_flip(table, count, where),
        normalisers=_normalisers(table.get("normalisers", {}), count, where),
        parts=parts,
        closed_parts=frozenset(_words(table.get("closed_parts", []), where, "closed_parts")),
        names=_words(table.get("names", []), where, "names"),
    )
    if _BUILT_IN.get(name, protocol) != protocol:
        refuse(where, "name", "be none of a built-in protocol with other points", name)
    return protocol


def protocol_to_json(protocol: LandmarkProtocol) -> str:
    """One line of JSON.

    Raises:
        ConfigError: If a name in it is one that a file cannot hold.
    """
    return json.dumps(to_plain(protocol))


def protocol_from_json(text: str, *, where: str) -> LandmarkProtocol:
    """The protocol that a JSON text holds.

    Args:
        text: As `protocol_to_json` writes it.
        where: Where the text is from, for messages.

    Raises:
        ConfigError: If it is no JSON, too long, or describes no protocol.
    """
    if len(text) > MAX_JSON_CHARACTERS:
        raise ConfigError(f"{where}: a protocol has at most {MAX_JSON_CHARACTERS} characters of JSON, got {len(text)}")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: a protocol must be JSON: {error}") from None
    return from_plain(data, where=where)


def refuse(where: str, key: str, rule: str, value: object) -> NoReturn:
    """Raise the one kind of error that a mistake in plain values gives.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(f"{where}: {key} must {rule}, got {reprlib.repr(value)}")


def as_table(value: object, *, where: str, key: str, allowed: tuple[str, ...] | None = None) -> Mapping[str, object]:
    """A table whose keys are words, or those allowed.

    Raises:
        ConfigError: If it is none.
    """
    if not isinstance(value, dict):
        refuse(where, key, "be a table", value)
    for inner in value:
        if allowed is not None and inner not in allowed:
            refuse(where, key, f"have no keys but {', '.join(allowed)}", inner)
        as_word(inner, where=where, key=f"a key of {key}")
    return value


def as_word(value: object, *, where: str, key: str) -> str:
    """A name that is safe in files and paths.

    Raises:
        ConfigError: If it is none.
    """
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        refuse(where, key, f"be {_WORD_RULE}", value)
    return value


def as_points(value: object, count: int, *, where: str, key: str) -> Points:
    """Points out of `count`, at least one.

    Raises:
        ConfigError: If it is no list of such numbers.
    """
    if not isinstance(value, list) or not value:
        refuse(where, key, "be a list of at least one point", value)
    if len(value) > MAX_LANDMARKS:
        refuse(where, key, f"have at most {MAX_LANDMARKS} points", value)
    for place, point in enumerate(value):
        if type(point) is not int or not 0 <= point < count:
            refuse(where, f"{key}[{place}]", f"be a point 0 … {count - 1}", point)
    return tuple(value)


def _built(where: str, **fields: Any) -> LandmarkProtocol:
    try:
        return LandmarkProtocol(**fields)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _count(value: object, where: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_LANDMARKS:
        refuse(where, "num_landmarks", f"be a whole number 1 … {MAX_LANDMARKS}", value)
    return value


def _flip(table: Mapping[str, object], count: int, where: str) -> Points:
    if ("flip" in table) == ("flip_pairs" in table):
        refuse(where, "a protocol", "have one of flip and flip_pairs", sorted(table))
    if "flip_pairs" in table:
        return _from_pairs(table["flip_pairs"], count, where)
    flip = as_points(table["flip"], count, where=where, key="flip")
    if len(flip) != count:
        refuse(where, "flip", f"have one entry for each of {count} landmarks", list(flip))
    for point, other in enumerate(flip):
        if flip[other] != point:
            refuse(where, f"flip[{point}]", f"undo itself, but flip[{other}] is {flip[other]}", other)
    return flip


def _from_pairs(value: object, count: int, where: str) -> Points:
    if not isinstance(value, list) or len(value) > count:
        refuse(where, "flip_pairs", "be a list of pairs of points", value)
    flip = list(range(count))
    for place, pair in enumerate(value):
        points = as_points(pair, count, where=where, key=f"flip_pairs[{place}]")
        if len(points) != 2 or points[0] == points[1]:
            refuse(where, f"flip_pairs[{place}]", "be two different points", pair)
        if any(flip[point] != point for point in points):
            refuse(where, f"flip_pairs[{place}]", "have no point of an earlier pair", pair)
        flip[points[0]], flip[points[1]] = points[1], points[0]
    return tuple(flip)


def _parts(value: object, count: int, where: str) -> dict[str, Points]:
    table = as_table(value, where=where, key="parts")
    return {name: _distinct(points, count, where, f"parts.{name}") for name, points in table.items()}


def _normalisers(value: object, count: int, where: str) -> dict[str, tuple[Points, Points]]:
    groups = {}
    for name, pair in as_table(value, where=where, key="normalisers").items():
        key = f"normalisers.{name}"
        if not isinstance(pair, list) or len(pair) != 2:
            refuse(where, key, "be two lists of points, the person's right and left", pair)
        groups[name] = (_distinct(pair[0], count, where, f"{key}[0]"), _distinct(pair[1], count, where, f"{key}[1]"))
    return groups


def _distinct(value: object, count: int, where: str, key: str) -> Points:
    points = as_points(value, count, where=where, key=key)
    if len(set(points)) != len(points):
        refuse(where, key, "have every point once", list(points))
    return points


def _words(value: object, where: str, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_LANDMARKS:
        refuse(where, key, f"be a list of at most {MAX_LANDMARKS} names", value)
    return tuple(as_word(word, where=where, key=f"{key}[{place}]") for place, word in enumerate(value))
