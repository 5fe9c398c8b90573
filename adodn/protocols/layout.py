"""What a landmark protocol is: how many points, what they are, how they flip, and what normalises an error.

Not here: the protocols themselves (`definitions`), maps between them (`maps`), and anything that reads files.

    LandmarkProtocol(name="pair", num_landmarks=2, flip=(1, 0), normalisers={}, names=("right_eye", "left_eye"))
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from adodn.errors import ConfigError

Points: TypeAlias = tuple[int, ...]

BOX_SIZE = "box_size"
"""The normaliser √(w · h) of the face box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LandmarkProtocol:
    """One layout of landmarks. Indices are 0-based; right and left are the person's own, not the viewer's.

    Raises:
        ConfigError: If `flip` is not an involution over all landmarks, an index lies outside, a normaliser has no
            points, `names` are not unique, or there is not one for every landmark.
    """

    name: str
    num_landmarks: int
    flip: Points
    """Permutation for a mirrored image: `mirrored[i] = original[flip[i]]`."""
    normalisers: dict[str, tuple[Points, Points]]
    """Name → two groups of points, the person's right and left; the normaliser is the distance of the groups' means."""
    parts: dict[str, Points] = field(default_factory=dict)
    """Name → points, in drawing order."""
    closed_parts: frozenset[str] = frozenset()
    """Parts whose last point is joined to the first when drawn."""
    names: tuple[str, ...] = ()
    """One name for each landmark; made from the parts where none are given."""

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
        if not self.names:
            object.__setattr__(self, "names", point_names(self.num_landmarks, self.parts))
        self._check_normalisers()
        self._check_names()

    def _check_normalisers(self) -> None:
        for name, pair in self.normalisers.items():
            if not all(pair):
                raise ConfigError(f"protocol {self.name!r}: normaliser {name!r} needs points on both sides, got {pair}")
        corners = self.normalisers.get("outer_eye_corners", ((0,), (0,)))
        if any(len(group) != 1 for group in corners):
            raise ConfigError(f"protocol {self.name!r}: outer_eye_corners is one point on each side, got {corners}")

    def _check_names(self) -> None:
        unknown = sorted(self.closed_parts - set(self.parts))
        if unknown:
            raise ConfigError(f"protocol {self.name!r}: closed parts {unknown} are no parts; it has {list(self.parts)}")
        if len(self.names) != self.num_landmarks:
            raise ConfigError(
                f"protocol {self.name!r}: names must be one for each of {self.num_landmarks} landmarks, "
                f"got {len(self.names)}"
            )
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"protocol {self.name!r}: every landmark needs a name of its own, these are twice: {twice}"
            )

    @property
    def usual_normaliser(self) -> str:
        """What an error is divided by where nobody says: the outer eye corners, else what the protocol names first,
        else the size of the face box, which every face has."""
        return (
            "outer_eye_corners" if "outer_eye_corners" in self.normalisers else next(iter(self.normalisers), BOX_SIZE)
        )

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


def point_names(
    num_landmarks: int, parts: Mapping[str, Points], special: Mapping[int, str] | None = None
) -> tuple[str, ...]:
    """Names from the parts: `jaw_0`, `jaw_1`, …, or the part's own name where it is a single point.

    Args:
        num_landmarks: How many points there are.
        parts: Name → points. A point that is in several parts is named by the first.
        special: Point → name, for points that have one of their own, e.g. `{8: "chin"}`.

    Returns:
        One name for each point; `point_3` for a point 3 that is in no part.
    """
    names = dict(special or {})
    for part, points in parts.items():
        for place, point in enumerate(points):
            names.setdefault(point, part if len(points) == 1 else f"{part}_{place}")
    return tuple(names.get(point, f"point_{point}") for point in range(num_landmarks))
