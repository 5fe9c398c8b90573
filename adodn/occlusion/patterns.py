"""Which landmarks are hidden together on real faces: a small neutral file, and its use on faces of any protocol.

    patterns = Patterns.measured(protocols.get("68"), visible, landmarks)
    Path("patterns.json").write_text(patterns.to_json())
    Patterns.from_json(Path("patterns.json").read_bytes(), "patterns.json")

The file is JSON with `schema` 1, the `protocol`, its `mean_shape` in face units and `hidden`, one text of 0 and 1 for
each face that has a hidden point. It holds no image and no single face's landmarks. None comes with this project.
"""

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn import protocols
from adodn.errors import AnnotationError, ConfigError
from adodn.occlusion.face import Anatomy
from adodn.protocols import LandmarkProtocol
from adodn.protocols.maps import get_map

Reals: TypeAlias = NDArray[np.float64]

MAX_BYTES = 20_000_000
_SCHEMA = 1
_KEYS = {"schema", "protocol", "mean_shape", "hidden"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Patterns:
    """Patterns of hidden landmarks."""

    protocol: LandmarkProtocol
    mean_shape: Reals
    """`[L, 2]`, in face units (`adodn.occlusion.face`)."""
    hidden: NDArray[np.bool_]
    """`[N, L]`, at least one True in each row."""

    @staticmethod
    def measured(protocol: LandmarkProtocol, visible: NDArray[np.bool_], landmarks: Reals) -> "Patterns":
        """The patterns of annotated faces.

        Args:
            protocol: Theirs.
            visible: `[N, L]`.
            landmarks: `[N, L, 2]`, pixels.

        Raises:
            ConfigError: If no landmark of any face is hidden.
        """
        rows = ~visible[~visible.all(axis=1)]
        if not len(rows):
            raise ConfigError(f"none of {len(visible)} faces has a hidden landmark; patterns need some that have")
        anatomy = Anatomy.of(protocol)
        shapes = [_into_units(face, anatomy.frame(face)) for face in landmarks]
        return Patterns(protocol=protocol, mean_shape=np.mean(shapes, axis=0).round(3), hidden=rows)

    def to_json(self) -> str:
        """The file's text: equal patterns give equal text."""
        rows = ["".join(str(int(flag)) for flag in row) for row in self.hidden]
        tree = {
            "schema": _SCHEMA,
            "protocol": self.protocol.name,
            "mean_shape": self.mean_shape.tolist(),
            "hidden": rows,
        }
        return json.dumps(tree, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(data: bytes, where: str) -> "Patterns":
        """Read what `to_json` wrote.

        Args:
            data: The file.
            where: Its path, for messages.

        Raises:
            AnnotationError: If it is not such a file.
            ConfigError: If its protocol is not known.
        """
        tree = _parsed(data, where)
        protocol = protocols.get(str(tree["protocol"]))
        count = protocol.num_landmarks
        shape, rows = tree["mean_shape"], tree["hidden"]
        if not _is_shape(shape, count):
            raise AnnotationError(f"{where}: mean_shape must be {count} pairs of finite numbers; make the file again")
        for row in rows if isinstance(rows, list) and rows else [rows]:
            if not isinstance(row, str) or len(row) != count or set(row) - {"0", "1"} or "1" not in row:
                raise AnnotationError(
                    f"{where}: hidden must be texts of {count} times 0 or 1, with a 1, got {row!r:.80}; "
                    "make the file again"
                )
        flags = np.array([[letter == "1" for letter in row] for row in rows], np.bool_)
        return Patterns(protocol=protocol, mean_shape=np.array(shape, np.float64), hidden=flags)

    def on(self, protocol: LandmarkProtocol) -> "PatternsOn":
        """The patterns for faces of another protocol, or of this one."""
        if protocol == self.protocol:
            return PatternsOn(self.hidden, None)
        try:
            known = get_map(self.protocol.name, protocol.name)
        except ConfigError:
            return PatternsOn(self.hidden, self.mean_shape)
        hidden = ~known.visible(~self.hidden)
        some = hidden[hidden.any(axis=1)]
        return PatternsOn(some, None) if len(some) else PatternsOn(self.hidden, self.mean_shape)


@dataclass(frozen=True, slots=True, eq=False)
class PatternsOn:
    """Patterns made ready for the faces of one protocol."""

    hidden: NDArray[np.bool_]
    """`[N, L]`, of the faces' protocol, or of the file's where no map leads from one to the other."""
    mean_shape: Reals | None
    """`[L, 2]`, face units: where the file's points lie on such faces; None where `hidden` is of the faces' own."""

    def points(self, draw: float, places: Reals, frame: Reals) -> tuple[Reals, Reals]:
        """`[H, 2]` and `[L - H, 2]`: hidden and shown points of one pattern on a face.

        Args:
            draw: From 0 to below 1; which pattern.
            places: `[M, 2]`: the face's landmarks.
            frame: `[2, 3]`: face units to the same.
        """
        row = self.hidden[int(draw * len(self.hidden))]
        points = places if self.mean_shape is None else self.mean_shape @ frame[:, :2].T + frame[:, 2]
        return points[row], points[~row]


def _into_units(face: Reals, frame: Reals) -> Reals:
    return np.asarray(np.linalg.solve(frame[:, :2], (face - frame[:, 2]).T).T)


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise AnnotationError(f"{where}: a file of patterns has at most {MAX_BYTES} bytes, got {len(data)}")
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{where}: must be JSON: {error}; make it with `adodn patterns`") from None
    if not isinstance(tree, dict) or set(tree) != _KEYS or tree["schema"] != _SCHEMA:
        raise AnnotationError(
            f"{where}: must have {sorted(_KEYS)} with schema {_SCHEMA}; make it with `adodn patterns`"
        )
    return tree


def _is_shape(value: object, count: int) -> bool:
    try:
        shape = np.array(value, np.float64)
    except (TypeError, ValueError):
        return False
    return shape.shape == (count, 2) and bool(np.isfinite(shape).all())
