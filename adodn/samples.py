"""The records that cross module borders: one face from a dataset, one batch for a model.

Conventions, the same everywhere:

* Landmarks are `[..., L, 2]`, x then y. In pixels, (0, 0) is the centre of the top-left pixel.
* A box is `(x0, y0, x1, y1)` in the same pixels.
* Inside a model, coordinates are fractions of the crop's side: 0 is its left or top edge, 1 its right or bottom edge,
  so the centre of pixel i of S lies at (i + 0.5) / S.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from adodn.protocols import LandmarkProtocol

Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRef:
    """Where one face is, before its image is read: what planning needs and no more."""

    key: str
    """Unique in the dataset, of letters, digits, `_` and `-` only; WebDataset cuts a key at the first dot."""
    locator: str
    """How the dataset finds the face again, e.g. a path relative to its root."""
    split: str
    """`train`, `val` or `test`."""
    subsets: tuple[str, ...] = ()
    """Named parts that the face counts for in evaluation, e.g. `("common", "full", "helen")`."""
    group: str = ""
    """Faces that must never be parted by a train/val split: the source photo, or the person where known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FaceSample:
    """One annotated face, its image still encoded as the dataset ships it."""

    ref: SampleRef
    image: bytes
    """The encoded file: JPEG or PNG."""
    landmarks: NDArray[np.float64]
    """`[L, 2]`, pixels of the image."""
    visible: NDArray[np.bool_]
    """`[L]`; False where a landmark is covered or turned away. All True where the dataset does not say."""
    box: Box
    """The face box of the dataset, else the tight box around the landmarks."""
    attributes: dict[str, str | float | bool] = field(default_factory=dict)
    """Whatever else the dataset says of the face: pose, gender, occluder, …"""


class Dataset(Protocol):
    """A raw dataset: an index that is cheap to read, and faces that are read one at a time."""

    name: str
    protocol: LandmarkProtocol
    problems: Sequence[str]
    """Sentences on what is missing or odd in this copy, e.g. official counts that are not met. Empty when complete."""

    def index(self) -> Sequence[SampleRef]:
        """All faces in a fixed order, the same on every machine."""
        ...

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face. Several threads may call this at once.

        Raises:
            AnnotationError: If its annotation or image cannot be read.
        """
        ...

    def __iter__(self) -> Iterator[FaceSample]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Faces ready for a model, on one rank.

    B faces here, L landmarks, S the side of the crop in pixels.
    """

    images: torch.Tensor
    """`[B, 3, S, S]`, uint8 RGB; the model normalises. Laid out channels-last."""
    landmarks: torch.Tensor
    """`[B, L, 2]`, float32, fractions of the crop."""
    visible: torch.Tensor
    """`[B, L]`, bool."""
    crop_to_image: torch.Tensor
    """`[B, 2, 3]`, float64: maps crop fractions (x, y, 1) to pixels of the original image."""
    image_landmarks: torch.Tensor
    """`[B, L, 2]`, float64: the annotation itself, in pixels of the original image, never augmented."""
    image_boxes: torch.Tensor
    """`[B, 4]`, float64: the face box in pixels of the original image."""
    indices: torch.Tensor
    """`[B]`, int64: position of each face in its split's manifest order."""
    is_padding: torch.Tensor
    """`[B]`, bool: True for faces repeated only to fill the last batch; metrics leave them out."""
    positions: torch.Tensor
    """`[B]`, int64: place of each face in the global batch, for draws that must not depend on the number of ranks."""
    keys: list[str]
    subsets: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.keys)

    def pin_memory(self) -> Self:
        """With what a training step sends to the GPU in memory that this reads by itself, while others compute."""
        return replace(self, images=self.images.pin_memory(), landmarks=self.landmarks.pin_memory())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MixedBatch(Batch):
    """Faces of several datasets and protocols. All landmarks end in zeros up to L, the most of any protocol.

    `visible` is False there. `indices` are places in the datasets' manifest orders, one dataset after another.
    """

    branches: torch.Tensor
    """`[B]`, int64: which protocol each face has, by its place among those that the experiment trains."""
