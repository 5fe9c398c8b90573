"""Where a model of one protocol and a dataset of another meet: in the most points that both have through maps.

    place = meet(protocols.get("68"), protocols.get("19"))
    place.protocol.name         # "19"
    place.name                  # "via 68-to-19 approximate 7 of 19", which is part of every result's name
    place.from_model.apply(predicted), place.from_dataset.apply(annotated)

A mapped point is exact where the map is, or where it is one point of the same name: protocols give two points one name
where both mean the same spot of the face. Names that only count through a part, such as `jaw_3`, say nothing of that.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adodn.errors import ConfigError
from adodn.protocols.layout import LandmarkProtocol, Points
from adodn.protocols.mapping import ProtocolMap, compose
from adodn.protocols.maps import identity, known
from adodn.protocols.plain import protocol_to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """Two maps that end in the same protocol.

    Raises:
        ConfigError: If they do not.
    """

    from_model: ProtocolMap
    from_dataset: ProtocolMap

    def __post_init__(self) -> None:
        if self.from_model.target != self.from_dataset.target:
            raise ConfigError(f"maps {self.from_model.name} and {self.from_dataset.name} must end in one protocol")

    @property
    def protocol(self) -> LandmarkProtocol:
        """The protocol whose points are measured."""
        return self.from_model.target

    @property
    def is_crossing(self) -> bool:
        """Whether model and dataset have different protocols."""
        return self.from_model.source != self.from_dataset.source

    @property
    def guessed(self) -> Points:
        """The points that at least one of the maps only guesses."""
        return tuple(sorted({*guessed_points(self.from_model), *guessed_points(self.from_dataset)}))

    @property
    def name(self) -> str:
        """How results of it are called, in letters that MLflow takes; empty where nothing is mapped.

        `via A-to-M` says that predictions are mapped, `against B-to-M` that the annotation is.
        """
        if not self.is_crossing:
            return ""
        sides = (("via", self.from_model), ("against", self.from_dataset))
        arrows = [f"{word} {side.source.name}-to-{side.target.name}" for word, side in sides if not _is_identity(side)]
        quality = f"approximate {len(self.guessed)} of {self.protocol.num_landmarks}" if self.guessed else "exact"
        return " ".join([*arrows, quality])

    @property
    def digest(self) -> str:
        """sha256 over both maps, their protocols included; empty where nothing is mapped."""
        if not self.is_crossing:
            return ""
        plain = [_plain(side) for side in (self.from_model, self.from_dataset)]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def meet(model: LandmarkProtocol, dataset: LandmarkProtocol, own_maps: Sequence[ProtocolMap] = ()) -> Meeting:
    """The largest protocol that both reach; of equals the dataset's own, then the one with fewer guessed points.

    Args:
        model: Protocol of the predictions.
        dataset: Protocol of the annotation.
        own_maps: Further maps, which count before the known ones, such as those of a `.toml` file.

    Raises:
        ConfigError: If there is none.
    """
    if model == dataset:
        return Meeting(from_model=identity(model), from_dataset=identity(dataset))
    maps = (*own_maps, *known())
    ours, theirs = _ways(model, maps), _ways(dataset, maps)
    pairs = [(a, b) for a in ours for b in theirs if a.target == b.target]
    if not pairs:
        raise ConfigError(
            f"no protocol can be reached from both the model's {model.name!r} and the dataset's {dataset.name!r}: "
            f"maps lead from the first to {_targets(ours)}, from the second to {_targets(theirs)}; write a map into "
            "the protocol's .toml file and give it with --maps"
        )
    return max((Meeting(from_model=a, from_dataset=b) for a, b in pairs), key=_preference)


def guessed_points(known_map: ProtocolMap) -> Points:
    """The points of a map's target that it does not give exactly."""
    if known_map.exact:
        return ()
    target, source = known_map.target, known_map.source
    return tuple(
        point
        for point, row in enumerate(known_map.rows)
        if len(row) > 1 or _is_counted(target, point) or target.names[point] != source.names[row[0]]
    )


def _preference(place: Meeting) -> tuple[int, bool, int, float]:
    residual = place.from_model.residual + place.from_dataset.residual
    return place.protocol.num_landmarks, _is_identity(place.from_dataset), -len(place.guessed), -residual


def _ways(start: LandmarkProtocol, maps: Sequence[ProtocolMap]) -> list[ProtocolMap]:
    """A map to every protocol that can be reached, by the fewest steps; the first is the identity."""
    ways = [identity(start)]
    for way in ways:  # grows on the way
        for step in maps:
            if step.source == way.target and all(step.target != other.target for other in ways):
                ways.append(step if _is_identity(way) else compose(way, step))
    return ways


def _targets(ways: Iterable[ProtocolMap]) -> str:
    return ", ".join(repr(way.target.name) for way in ways if not _is_identity(way)) or "none"


def _is_identity(known_map: ProtocolMap) -> bool:
    return known_map.source == known_map.target


def _is_counted(protocol: LandmarkProtocol, point: int) -> bool:
    """Whether a point's name is its part's with its place in it."""
    name = protocol.names[point]
    return any(
        len(points) > 1 and name == f"{part}_{points.index(point)}"
        for part, points in protocol.parts.items()
        if point in points
    )


def _plain(side: ProtocolMap) -> dict[str, object]:
    ends = [protocol_to_json(end) for end in (side.source, side.target)]
    return {"ends": ends, "rows": side.rows, "exact": side.exact, "residual": side.residual}
