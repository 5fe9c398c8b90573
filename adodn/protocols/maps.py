"""The maps between protocols that are known, by the names of both.

Not here: what a map is (`mapping`). Indices are facts taken from the datasets' documents and from how others join
these datasets (68→29 from Ghiasi and Fowlkes' COFW68, 2015); the others and all figures are this project's own. One
public 29→106 list numbers the eyes as WFLW does and so puts them on the nose: a constructor that insists on the flips,
and tests on names and shapes, keep such slips out.

Residuals are the systematic part alone: the mapped mean face of one dataset against the mean face of the other, after
the best affine fit, averaged over points, in outer-eye distances. They were computed once from the mean faces of the
training sets that PIPNet publishes, which are not part of this project; two people who annotate one face differ by
more. The tests hold them against real faces: two that carry both 68 and 29 points are 0.034 apart under 68→29.

    get_map("98", "68").apply(landmarks)    # [..., 98, 2] -> [..., 68, 2]
"""

from dataclasses import replace

from adodn import protocols
from adodn.errors import ConfigError
from adodn.protocols import toml_file
from adodn.protocols.catalogue import named
from adodn.protocols.layout import LandmarkProtocol, Points
from adodn.protocols.mapping import ProtocolMap, compose


def _picks(*points: int | Points) -> tuple[Points, ...]:
    return tuple((point,) if isinstance(point, int) else point for point in points)


def _exact(source: str, target: str, *points: int) -> ProtocolMap:
    return ProtocolMap(source=named(source), target=named(target), rows=_picks(*points), exact=True, residual=0.0)


def _near(source: str, target: str, residual: float, *points: int | Points) -> ProtocolMap:
    return ProtocolMap(source=named(source), target=named(target), rows=_picks(*points), exact=False, residual=residual)


_RIGHT_EYE_68, _LEFT_EYE_68 = tuple(range(36, 42)), tuple(range(42, 48))

_68_TO_29 = _near(
    *("68", "29", 0.018),
    *(17, 26, 21, 22),  # brow ends
    *(19, (17, 21), 24, (22, 26)),  # the lower rim runs about half way between the ends of 68's single line
    *(36, 45, 39, 42),
    *((37, 38), (40, 41), (43, 44), (46, 47)),
    *(_RIGHT_EYE_68, _LEFT_EYE_68),
    *(31, 35, 30, 33),
    *(48, 54, (50, 51, 52), 62, 66, (56, 57, 58)),
    (7, 8, 9),
)
_68_TO_19 = _near(
    *("68", "19", 0.036),
    *(17, 19, 21, 22, 24, 26),
    *(36, _RIGHT_EYE_68, 39, 42, _LEFT_EYE_68, 45),
    *(31, 30, 35),  # AFLW's wings lie further out, 0.09 on average: 68 has no point there
    *(48, (62, 66), 54),
    8,
)
_68_TO_5 = _near("68", "5", 0.015, _RIGHT_EYE_68, _LEFT_EYE_68, 30, 48, 54)  # as these five points of 68→29

_98_TO_68 = _near(
    *("98", "68", 0.025),
    *range(0, 33, 2),
    *(*range(33, 38), *range(42, 47)),
    *range(51, 60),
    # Lids: quarters of the way in 98, thirds in 68.
    *(60, (61, 61, 62), (63, 63, 62), 64, (65, 65, 66), (67, 67, 66)),
    *(68, (69, 69, 70), (71, 71, 70), 72, (73, 73, 74), (75, 75, 74)),
    *range(76, 96),
)
_98_TO_29 = _near(
    *("98", "29", 0.013),
    *(33, 46, (37, 38), (42, 50)),
    *(35, 40, 44, 48),
    *(60, 72, 64, 68, 62, 66, 70, 74, 96, 97),
    *(55, 59, 54, 57),
    *(76, 82, 79, 90, 94, 85),
    (14, 16, 18),
)
_98_TO_19 = _near(
    *("98", "19", 0.025),
    *(33, (35, 40), (37, 38), (42, 50), (44, 48), 46),
    *(60, 96, 64, 68, 97, 72),
    *(55, 54, 59),
    *(76, (90, 94), 82),
    16,
)

_106_TO_98 = _near(
    *("106", "98", 0.019),  # the same points, put a little differently: LaPa's jaw ends lie higher
    *range(55),
    *range(58, 63),
    *(*range(66, 74), *range(75, 83)),
    *range(84, 106),
)
_WINGS_106 = {"29": {18: 57, 19: 63}, "19": {12: 57, 14: 63}}
"""Target → point → the wing of the nose that 106 has and 98 has not."""


def _over_98(second: ProtocolMap, residual: float) -> ProtocolMap:
    """From 106, by way of 98, with 106's own wings of the nose; `residual` was measured on the whole way."""
    whole = compose(_106_TO_98, second)
    wings = _WINGS_106.get(second.target.name, {})
    rows = tuple((wings[i],) if i in wings else row for i, row in enumerate(whole.rows))
    return replace(whole, rows=rows, residual=residual)


_98_TO_5 = _exact("98", "5", 96, 97, 54, 76, 82)
_29_TO_5 = _exact("29", "5", 16, 17, 20, 22, 23)
_19_TO_5 = _exact("19", "5", 7, 10, 13, 15, 17)
_21_TO_19 = _exact("21", "19", *range(12), 13, 14, 15, *range(17, 21))
_106_TO_5 = _exact("106", "5", 104, 105, 54, 84, 90)

_MAPS = {
    (known.source.name, known.target.name): known
    for known in (
        *(_19_TO_5, _21_TO_19, compose(_21_TO_19, _19_TO_5), _29_TO_5),
        *(_68_TO_5, _68_TO_19, _68_TO_29),
        *(_98_TO_5, _98_TO_19, _98_TO_29, _98_TO_68),
        *(_106_TO_5, _over_98(_98_TO_19, 0.017), _over_98(_98_TO_29, 0.009), _over_98(_98_TO_68, 0.036), _106_TO_98),
    )
}


def available() -> tuple[tuple[str, str], ...]:
    """(source, target) of every map that is known, but for the identities."""
    return tuple(_MAPS)


def known() -> tuple[ProtocolMap, ...]:
    """Every map that is known, but for the identities."""
    return tuple(_MAPS.values())


def get_map(source: str, target: str) -> ProtocolMap:
    """The map from one protocol to another; from a protocol to itself it changes nothing.

    Args:
        source: A protocol's name, or the path of a `.toml` file.
        target: As `source`. A map that either file holds counts before those of this module.

    Raises:
        ConfigError: If a protocol is unknown, or there is no such map.
    """
    start, end = protocols.get(source), protocols.get(target)
    if start == end:
        return identity(start)
    own = [known for name in (source, target) if toml_file.is_file_name(name) for known in toml_file.load(name).maps]
    for known in (*own, *_MAPS.values()):
        if known.source == start and known.target == end:
            return known
    ways = ", ".join(f"{a}→{b}" for a, b in _MAPS)
    raise ConfigError(f"no map from protocol {source!r} to {target!r}; there are {ways}, and those of your own files")


def identity(protocol: LandmarkProtocol) -> ProtocolMap:
    """The map from a protocol to itself."""
    rows = tuple((i,) for i in range(protocol.num_landmarks))
    return ProtocolMap(source=protocol, target=protocol, rows=rows, exact=True, residual=0.0)
