"""Landmark protocols: how many points, what they are, how they flip, and what normalises an error.

Not here: maps between protocols, and anything that reads files.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from adodn.errors import ConfigError

Points: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LandmarkProtocol:
    """One layout of landmarks. Indices are 0-based.

    Raises:
        ConfigError: If `flip` is not an involution over all landmarks, or an index lies outside.
    """

    name: str
    num_landmarks: int
    flip: Points
    """Permutation for a mirrored image: `mirrored[i] = original[flip[i]]`."""
    normalisers: dict[str, tuple[Points, Points]]
    """Name → two groups of points; the normaliser is the distance between the groups' means."""
    parts: dict[str, Points] = field(default_factory=dict)
    """Name → points, in drawing order."""
    closed_parts: frozenset[str] = frozenset()
    """Parts whose last point is joined to the first when drawn."""

    def __post_init__(self) -> None:
        every = tuple(range(self.num_landmarks))
        if tuple(sorted(self.flip)) != every or any(self.flip[self.flip[i]] != i for i in every):
            raise ConfigError(
                f"protocol {self.name!r}: flip must be a permutation of 0 … {self.num_landmarks - 1} that undoes itself"
            )
        groups = [g for pair in self.normalisers.values() for g in pair] + list(self.parts.values())
        outside = sorted({i for group in groups for i in group} - set(every))
        if outside:
            raise ConfigError(f"protocol {self.name!r}: points {outside} lie outside 0 … {self.num_landmarks - 1}")

    @property
    def outer_eye_corners(self) -> tuple[int, int]:
        """The two landmarks whose distance is the field's usual normaliser.

        Raises:
            ConfigError: If the protocol has no such landmarks.
        """
        if "outer_eye_corners" not in self.normalisers:
            raise ConfigError(f"protocol {self.name!r} has no outer eye corners; it has {sorted(self.normalisers)}")
        (right,), (left,) = self.normalisers["outer_eye_corners"]
        return right, left


def _span(first: int, last: int) -> Points:
    """first … last inclusive, downwards when last is smaller."""
    step = 1 if last >= first else -1
    return tuple(range(first, last + step, step))


_IBUG_68 = LandmarkProtocol(
    name="68",
    num_landmarks=68,
    flip=(
        *_span(16, 0),
        *_span(26, 17),
        *_span(27, 30),
        *_span(35, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *_span(54, 48),
        *_span(59, 55),
        *_span(64, 60),
        *_span(67, 65),
    ),
    normalisers={
        "outer_eye_corners": ((36,), (45,)),
        "pupils": (_span(36, 41), _span(42, 47)),
    },
    parts={
        "jaw": _span(0, 16),
        "right_brow": _span(17, 21),
        "left_brow": _span(22, 26),
        "nose_bridge": _span(27, 30),
        "nose_base": _span(31, 35),
        "right_eye": _span(36, 41),
        "left_eye": _span(42, 47),
        "outer_lips": _span(48, 59),
        "inner_lips": _span(60, 67),
    },
    closed_parts=frozenset({"right_eye", "left_eye", "outer_lips", "inner_lips"}),
)

_PROTOCOLS = {protocol.name: protocol for protocol in (_IBUG_68,)}


def get(name: str) -> LandmarkProtocol:
    """The protocol of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in _PROTOCOLS:
        raise ConfigError(f"unknown landmark protocol {name!r}; available: {', '.join(sorted(_PROTOCOLS))}")
    return _PROTOCOLS[name]
