"""Datasets whose faces a list names: WFLW, MTFL, users' own. It knows no list's columns.

class MyDataset(ListedDataset):
    def __init__(self, root): super().__init__(root.resolve(), faces, problems)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.files import MAX_IMAGE_BYTES, inside, is_file, read_file
from adodn.errors import AnnotationError
from adodn.samples import Box, FaceSample, SampleRef


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ListedFace:
    """One line of a list."""

    ref: SampleRef
    image: Path
    """Where the list says that the image is; not yet checked."""
    landmarks: NDArray[np.float64]
    """`[L, 2]`, pixels of the image, from 0."""
    box: Box
    attributes: dict[str, str | float | bool]
    visible: NDArray[np.bool_] | None = None
    """`[L]`; None where the list does not say, and all landmarks count as visible."""


class ListedDataset:
    """Faces of text lists, and their images.

    Args:
        root: The dataset's folder, resolved; no image outside it is read.
        faces: What the lists say, in their order.
        problems: What this copy lacks.

    Raises:
        AnnotationError: If an image is missing, or its name leads out of `root`.
    """

    def __init__(self, root: Path, faces: Sequence[ListedFace], problems: Sequence[str]) -> None:
        self.root = root
        self.problems: Sequence[str] = tuple(problems)
        self._refs = tuple(face.ref for face in faces)
        self._faces = {face.ref.locator: face for face in faces}
        self._check_images(faces)

    def index(self) -> Sequence[SampleRef]:
        """All faces: train before test, each in the order of its list."""
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face.

        Raises:
            AnnotationError: If its image cannot be read, or the face is not in the index.
        """
        face = self._faces.get(ref.locator)
        if face is None:
            raise AnnotationError(f"{ref.locator!r} is not a face of {self.root}; take it from index()")
        return FaceSample(
            ref=ref,
            image=read_file(inside(face.image, self.root), MAX_IMAGE_BYTES),
            landmarks=face.landmarks.copy(),
            visible=np.ones(len(face.landmarks), dtype=np.bool_) if face.visible is None else face.visible.copy(),
            box=face.box,
            attributes=dict(face.attributes),
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def _check_images(self, faces: Sequence[ListedFace]) -> None:
        missing = [face for face in faces if not is_file(inside(face.image, self.root))]
        if missing:
            raise AnnotationError(
                f"{missing[0].ref.locator}: image {str(missing[0].image)!r} is not there, as {len(missing)} of "
                f"{len(faces)} are not; unpack the images again, or take their lines out of the list"
            )
