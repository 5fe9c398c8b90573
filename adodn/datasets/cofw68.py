"""COFW68: 68 landmarks, each with an occlusion flag, drawn by others on the test faces of COFW. It brings no images.

    Cofw68Dataset(Path("cofw68"))             # needs COFW_test_color.mat beside the annotations
    read_annotations(Path("cofw68"))          # the annotations alone

Its folder is `COFW68_Data` of the benchmark: `test_annotations/<i>_points.mat` belongs to COFW's test image i, counted
from 1, as does row i of `cofw68_test_bboxes.mat`. There is no training set: it tests models trained on 300W.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adodn import protocols
from adodn.datasets import cofw, matlab
from adodn.errors import AnnotationError, DataError
from adodn.samples import Box, FaceSample, SampleRef

SOURCE = "https://github.com/golnazghiasi/cofw68-benchmark"

_FOLDER, _BOXES = "test_annotations", "cofw68_test_bboxes.mat"
_FILE = re.compile(r"([1-9][0-9]{0,4})_points\.mat")
_POINTS = 68
_OFFICIAL = 507


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cofw68Annotation:
    """What the benchmark says of one face."""

    number: int
    """Of COFW's test image, from 1."""
    landmarks: NDArray[np.float64]
    """`[68, 2]`, pixels from 0."""
    visible: NDArray[np.bool_]
    """`[68]`; False where a landmark is covered."""
    box: Box
    """By the face detector whose boxes 300W came with."""


class _Annotations:
    """The annotations of one folder; a face's file is read when the face is."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        folder = self.root / _FOLDER
        names = [_FILE.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
        self.numbers = sorted(int(name[1]) for name in names if name)
        if not self.numbers:
            raise DataError(f"{root}: needs {_FOLDER}/1_points.mat … {_OFFICIAL}_points.mat in it, see {SOURCE}")
        path = self.root / _BOXES
        with matlab.open_mat(path, self.root) as mat:
            boxes = mat.numbers("bboxes", (None, 4))
        self._boxes = cofw.corner_boxes(boxes, f"{path}: bboxes")
        if len(boxes) < self.numbers[-1]:
            raise AnnotationError(f"{path}: has {len(boxes)} boxes, but there is {_file(self.numbers[-1])}")

    def read(self, number: int) -> Cofw68Annotation:
        path = self.root / _file(number)
        with matlab.open_mat(path, self.root) as mat:
            points = mat.numbers("Points", (_POINTS, 2))
            occluded = mat.numbers("Occ", (1, _POINTS))
        x0, y0, x1, y1 = self._boxes[number - 1].tolist()
        return Cofw68Annotation(
            number=number,
            landmarks=points - 1.0,
            visible=~matlab.flags(occluded, f"{path}: Occ")[0],
            box=(x0, y0, x1, y1),
        )


def read_annotations(root: Path) -> tuple[Cofw68Annotation, ...]:
    """All annotations of a copy, in the order of COFW's test images; needs no images.

    Args:
        root: Folder that holds `test_annotations` and `cofw68_test_bboxes.mat`.

    Raises:
        DataError: If there are no annotations.
        AnnotationError: If a file leads out of `root`, is damaged, or is not the benchmark's.
    """
    annotations = _Annotations(root)
    return tuple(annotations.read(number) for number in annotations.numbers)


class Cofw68Dataset:
    """A copy of COFW68 together with the test images of COFW; all faces are test faces.

    Args:
        root: Folder that holds `test_annotations`, `cofw68_test_bboxes.mat`, and `COFW_test_color.mat` or
            `COFW_test.mat`.

    Raises:
        DataError: If the annotations or the images are missing.
        AnnotationError: If a file leads out of `root`, is damaged, or has fewer images than are annotated.
    """

    name = "cofw68"

    def __init__(self, root: Path) -> None:
        self.protocol = protocols.get("68")
        self._annotations = _Annotations(root)
        self.root = self._annotations.root
        numbers = self._annotations.numbers
        self._images = self._open_images()
        if len(self._images) < numbers[-1]:
            raise AnnotationError(
                f"{self._images.path}: has {len(self._images)} images, but there is {_file(numbers[-1])}"
            )
        self._whole = numbers == list(range(1, _OFFICIAL + 1))
        self.problems: Sequence[str] = tuple(self._problems())
        self._refs = tuple(self._ref(number) for number in numbers)
        self._numbers = dict(zip((ref.locator for ref in self._refs), numbers, strict=True))

    def index(self) -> Sequence[SampleRef]:
        """All faces, in the order of COFW's test images."""
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face; landmarks flagged as occluded are not visible, and the box is the benchmark's own.

        Raises:
            AnnotationError: If its annotation or image cannot be read, or the face is not in the index.
        """
        if ref.locator not in self._numbers:
            raise AnnotationError(f"{ref.locator!r} is not a face of {self.root}; take it from index()")
        annotation = self._annotations.read(self._numbers[ref.locator])
        return FaceSample(
            ref=ref,
            image=self._images.png(annotation.number - 1),
            landmarks=annotation.landmarks,
            visible=annotation.visible,
            box=annotation.box,
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def _open_images(self) -> cofw.CofwImages:
        try:
            return cofw.CofwImages(self.root, "test")
        except AnnotationError:
            raise
        except DataError as error:
            raise DataError(
                f"{error}; COFW68 brings no images, put COFW's beside its annotations, "
                "which `cofw68.read_annotations` reads without them"
            ) from None

    def _problems(self) -> Iterator[str]:
        if not self._whole:
            found = len(self._annotations.numbers)
            yield f"{_FOLDER}: {found} faces found, {_OFFICIAL} are official"
            yield "subset 'cofw68' is not declared, because the test set must be whole"
        if not self._images.in_colour:
            yield f"{self._images.path.name}: its images are grey; the colour release is COFW_test_color.mat"

    def _ref(self, number: int) -> SampleRef:
        return SampleRef(
            key=f"cofw68_{number:04d}",
            locator=_file(number),
            split="test",
            subsets=("cofw68",) if self._whole else (),
            group=f"cofw/test/{number:04d}",
        )


def _file(number: int) -> str:
    return f"{_FOLDER}/{number}_points.mat"
