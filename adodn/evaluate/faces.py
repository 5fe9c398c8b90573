"""What a model did on N faces: landmarks found and annotated, and every error that follows from them, face by face.

errors.nme                                      # [N]
errors.per_face("nme/part/left_eye")            # values, and which faces they are of
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adodn import metrics
from adodn.errors import DataError
from adodn.protocols import LandmarkProtocol

ALL = "all"
"""The subset that every face belongs to."""

Numbers = NDArray[np.float64]
_VISIBLE, _OCCLUDED, _EQ10 = "nme/visible", "nme/occluded", "nrmse_eq10"
_PART, _LANDMARK = "nme/part/", "nme/landmark/"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FaceErrors:
    """What a model did on N faces, each measured once.

    Raises:
        DataError: If there is no face, one comes twice, or a face has no finite annotation or no length to divide by.
        ValueError: If shapes do not fit, keys do not ascend, or a prediction is not finite.
    """

    protocol: LandmarkProtocol
    normaliser: str
    """What `nme` and all errors are divided by."""
    keys: tuple[str, ...]
    """Ascending, so that faces measured in any order and by any number of workers give the same record."""
    subsets: tuple[tuple[str, ...], ...]
    """Per face, without `all`."""
    predicted: Numbers
    """`[N, L, 2]`, pixels of the original images."""
    target: Numbers
    """`[N, L, 2]`, the annotation in the same pixels."""
    visible: NDArray[np.bool_]
    """`[N, L]`, of the annotation; all True where the dataset does not say."""
    boxes: Numbers
    """`[N, 4]`, face boxes in the same pixels."""
    predicted_visible: NDArray[np.bool_] | None = None
    """`[N, L]`; None of a model that does not say."""
    landmark_errors: Numbers = field(init=False)
    """`[N, L]`, fractions."""
    nme: Numbers = field(init=False)
    """`[N]`, fractions."""

    def __post_init__(self) -> None:
        self._check_keys()
        self._check_arrays()
        lengths = self.lengths(self.normaliser)
        bad = np.flatnonzero(~(lengths > 0))
        if len(bad):
            raise DataError(
                f"face {self.keys[bad[0]]!r}: normaliser {self.normaliser!r} must be above 0, got "
                f"{float(lengths[bad[0]])!r}; mend its annotation, or measure by another normaliser"
            )
        errors = metrics.landmark_errors(self.predicted, self.target, lengths)
        object.__setattr__(self, "landmark_errors", errors.numpy())
        object.__setattr__(self, "nme", errors.mean(dim=1).numpy())

    def __len__(self) -> int:
        return len(self.keys)

    def lengths(self, normaliser: str) -> Numbers:
        """`[N]`, pixels: Ω of each face by any normaliser of `metrics.normaliser_names`; may be 0.

        Raises:
            ConfigError: If the protocol has no such normaliser.
        """
        lengths: Numbers = metrics.normaliser_of(self.protocol, self.target, self.boxes, normaliser).numpy()
        return lengths

    def members(self) -> dict[str, NDArray[np.bool_]]:
        """Subset → `[N]`, which faces belong to it, in order of name; `all` comes last."""
        names = sorted({name for subsets in self.subsets for name in subsets} - {ALL})
        parts = {name: np.array([name in subsets for subsets in self.subsets]) for name in names}
        return {**parts, ALL: np.ones(len(self), dtype=np.bool_)}

    def by_subset(self) -> dict[str, Numbers]:
        """Subset → the NME of its faces, in order of name; `all` comes last."""
        return {name: self.nme[members] for name, members in self.members().items()}

    def per_face(self, figure: str) -> tuple[Numbers, NDArray[np.int64]]:
        """A figure of each face that has it.

        Args:
            figure: One of `figure_names`.

        Returns:
            `[K]` fractions, and `[K]` which faces they are of: all of them, but for `nme/visible` and `nme/occluded`,
            which no face may have.

        Raises:
            ValueError: If there is no such figure.
        """
        errors, every = self.landmark_errors, np.arange(len(self))
        if figure in (_VISIBLE, _OCCLUDED):
            return self._per_face_where(self.visible if figure == _VISIBLE else ~self.visible)
        if figure == "nme":
            return self.nme, every
        if figure == _EQ10:
            return metrics.nrmse_eq10(self.predicted, self.target, self.lengths(self.normaliser)).numpy(), every
        return metrics.nme_of_points(errors, _points(self.protocol, figure)).numpy(), every

    def extremes(self, count: int) -> dict[str, tuple[str, ...]]:
        """Keys of the `best`, `median` and `worst` faces, each in order of error, ties by key."""
        ranked = [key for _, key in sorted(zip(self.nme.tolist(), self.keys, strict=True))]
        middle = max(0, (len(ranked) - count) // 2)
        return {
            "best": tuple(ranked[:count]),
            "median": tuple(ranked[middle : middle + count]),
            "worst": tuple(ranked[-count:]),
        }

    def _per_face_where(self, chosen: NDArray[np.bool_]) -> tuple[Numbers, NDArray[np.int64]]:
        if not chosen.any():
            return np.empty(0), np.empty(0, dtype=np.int64)
        values, faces = metrics.nme_where(self.landmark_errors, chosen)
        return values.numpy(), faces.numpy()

    def _check_keys(self) -> None:
        if not self.keys:
            raise DataError("evaluation needs at least one face, got none; name a split that has faces")
        for before, key in zip(self.keys, self.keys[1:], strict=False):
            if before == key:
                raise DataError(f"each face counts once in an evaluation, but {key!r} came twice; pass each batch once")
            if before > key:
                raise ValueError(f"keys of measured faces must ascend, got {before!r} before {key!r}")

    def _check_arrays(self) -> None:
        count, points = len(self.keys), self.protocol.num_landmarks
        shapes = {"predicted": (count, points, 2), "target": (count, points, 2), "visible": (count, points)}
        shapes |= {"boxes": (count, 4)} | ({"predicted_visible": (count, points)} if self._says_visibility else {})
        for name, shape in shapes.items():
            array, kind = getattr(self, name), np.bool_ if "visible" in name else np.float64
            if array.shape != shape or array.dtype != kind:
                raise ValueError(f"{name} must be {kind.__name__} {list(shape)}, got {array.dtype} {list(array.shape)}")
        if len(self.subsets) != count:
            raise ValueError(f"subsets must be one tuple for each of {count} faces, got {len(self.subsets)}")
        for name in ("target", "boxes"):
            bad = np.flatnonzero(~np.isfinite(getattr(self, name)).reshape(count, -1).all(axis=1))
            if len(bad):
                key = self.keys[bad[0]]
                raise DataError(f"face {key!r}: {name} must be finite ({len(bad)} such faces); mend its annotation")

    @property
    def _says_visibility(self) -> bool:
        return self.predicted_visible is not None


def figure_names(protocol: LandmarkProtocol) -> tuple[str, ...]:
    """The figures of a face: `nme`, also of visible and covered landmarks, of each part and landmark, and Eq. 10's."""
    parts, landmarks = (f"{_PART}{name}" for name in protocol.parts), (f"{_LANDMARK}{name}" for name in protocol.names)
    return ("nme", _VISIBLE, _OCCLUDED, *parts, *landmarks, _EQ10)


def _points(protocol: LandmarkProtocol, figure: str) -> tuple[int, ...]:
    if figure not in figure_names(protocol):
        raise ValueError(f"{figure!r} is no figure of a face; there are {', '.join(figure_names(protocol))}")
    if figure.startswith(_PART):
        return protocol.parts[figure.removeprefix(_PART)]
    return (protocol.names.index(figure.removeprefix(_LANDMARK)),)
