"""What a map between two protocols is: for every point of the target, the points of the source whose mean gives it.

Not here: the maps that are known (`maps`), and changes of annotations themselves: a mapped point is a guess at where
somebody following the target's rules would have put it, good to `residual`.

    ProtocolMap(source=five, target=pair, rows=((0,), (1,)), exact=True, residual=0.0).apply(landmarks)
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from adodn.errors import ConfigError
from adodn.protocols.layout import LandmarkProtocol, Points

Array = TypeVar("Array", NDArray[Any], torch.Tensor)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProtocolMap:
    """How the landmarks of one protocol are made from those of another.

    Raises:
        ConfigError: If there is not one row for every target point, a row is empty or out of range, the map does not
            commute with the flips, an exact map has a row of several points or a residual, or `residual` is not a
            finite number from 0.
    """

    source: LandmarkProtocol
    target: LandmarkProtocol
    rows: tuple[Points, ...]
    """For each target point the source points whose mean it is; one that is listed twice weighs double."""
    exact: bool
    """True where every target point is, by its definition, one point of the source."""
    residual: float
    """Mean distance between mapped and annotated mean faces in outer-eye distances; 0 where exact."""

    def __post_init__(self) -> None:
        if len(self.rows) != self.target.num_landmarks:
            raise ConfigError(
                f"map {self.name}: needs a row for each of {self.target.num_landmarks} target points, "
                f"got {len(self.rows)}"
            )
        for point, row in enumerate(self.rows):
            if not row or not all(0 <= i < self.source.num_landmarks for i in row):
                raise ConfigError(
                    f"map {self.name}: row {point} must name points 0 … {self.source.num_landmarks - 1} of the source, "
                    f"got {row}"
                )
        self._check_flips()
        self._check_exactness()

    def _check_flips(self) -> None:
        for point, row in enumerate(self.rows):
            mirrored = Counter(self.source.flip[i] for i in row)
            if mirrored != Counter(self.rows[self.target.flip[point]]):
                raise ConfigError(
                    f"map {self.name}: rows {point} and {self.target.flip[point]} must mirror each other, "
                    f"got {row} and {self.rows[self.target.flip[point]]}"
                )

    def _check_exactness(self) -> None:
        if not (math.isfinite(self.residual) and self.residual >= 0):
            raise ConfigError(f"map {self.name}: residual must be a finite number from 0, got {self.residual!r}")
        if self.exact and (self.residual or any(len(row) > 1 for row in self.rows)):
            raise ConfigError(
                f"map {self.name}: an exact map picks single points and has residual 0, got residual {self.residual!r}"
            )

    @property
    def name(self) -> str:
        """Such as `98→5`, or `68→29≈0.018` where mapped points are off by that much on average."""
        arrow = f"{self.source.name}→{self.target.name}"
        return arrow if self.exact else f"{arrow}≈{self.residual:.3f}"

    def apply(self, landmarks: Array) -> Array:
        """Landmarks of the target protocol.

        Args:
            landmarks: `[..., L, 2]`, floating, in any unit; NaN stays with the points that are made from it.

        Returns:
            `[..., M, 2]`, of the same kind, dtype and device.

        Raises:
            ValueError: If there are not L points of 2 coordinates, or they are not floating.
        """
        if landmarks.ndim < 2 or landmarks.shape[-2:] != (self.source.num_landmarks, 2):
            raise ValueError(
                f"map {self.name}: landmarks must be [..., {self.source.num_landmarks}, 2], "
                f"got {tuple(landmarks.shape)}"
            )
        index, weight = self._table()
        if isinstance(landmarks, torch.Tensor):
            if not landmarks.is_floating_point():
                raise ValueError(f"map {self.name}: landmarks must be floating, got {landmarks.dtype}")
            gathered = landmarks[..., torch.from_numpy(index).to(landmarks.device), :]
            return (gathered * torch.from_numpy(weight).to(gathered)[..., None]).sum(-2)
        if not np.issubdtype(landmarks.dtype, np.floating):
            raise ValueError(f"map {self.name}: landmarks must be floating, got {landmarks.dtype}")
        return np.asarray((landmarks[..., index, :] * weight.astype(landmarks.dtype)[..., None]).sum(-2))

    def visible(self, visible: Array) -> Array:
        """Which target points are visible: those all of whose source points are.

        Args:
            visible: `[..., L]`, bool.

        Returns:
            `[..., M]`, bool, of the same kind and device.

        Raises:
            ValueError: If there are not L points.
        """
        if visible.ndim < 1 or visible.shape[-1] != self.source.num_landmarks:
            raise ValueError(
                f"map {self.name}: visible must be [..., {self.source.num_landmarks}], got {tuple(visible.shape)}"
            )
        index, _ = self._table()
        if isinstance(visible, torch.Tensor):
            return visible[..., torch.from_numpy(index).to(visible.device)].all(-1)
        return np.asarray(visible[..., index].all(-1))

    def _table(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Source points and weights `[M, K]`; short rows are filled with their first point at weight 0."""
        width = max(len(row) for row in self.rows)
        index = np.array([row + row[:1] * (width - len(row)) for row in self.rows], dtype=np.int64)
        weight = np.array([[1 / len(row)] * len(row) + [0.0] * (width - len(row)) for row in self.rows])
        return index, weight


def compose(first: ProtocolMap, second: ProtocolMap) -> ProtocolMap:
    """The map that goes from `first.source` to `second.target`; residuals add up, which is the worst they can do.

    Raises:
        ConfigError: If `second` does not start from where `first` ends.
    """
    if first.target != second.source:
        raise ConfigError(
            f"maps {first.name} and {second.name} do not join: the second must start from {first.target.name!r}, "
            f"got {second.source.name!r}"
        )
    return ProtocolMap(
        source=first.source,
        target=second.target,
        rows=tuple(_joined([first.rows[i] for i in row]) for row in second.rows),
        exact=first.exact and second.exact,
        residual=first.residual + second.residual,
    )


def _joined(rows: list[Points]) -> Points:
    """One row for the mean of several rows' means."""
    length = math.lcm(*(len(row) for row in rows))
    counts = Counter(i for row in rows for i in row * (length // len(row)))
    shared = math.gcd(*counts.values())
    return tuple(i for i, count in counts.items() for _ in range(count // shared))
