"""COFW: faces under occlusion with 29 landmarks and a flag on each, images and all in two `.mat` files.

    dataset = CofwDataset(Path("cofw"))
    dataset.problems          # what this copy lacks, against the official counts

The colour release is read where it is there, else the grey one. Images are handed on as PNG, because the files hold
bare pixels. The 68 landmarks that others drew on the test faces are `adodn.datasets.cofw68`.

The first 845 training faces come from LFPW and are hardly occluded; the 500 after them were collected for COFW.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adodn import protocols
from adodn.datasets import matlab
from adodn.datasets.files import is_file
from adodn.errors import AnnotationError, DataError
from adodn.samples import FaceSample, SampleRef

SOURCE = "https://data.caltech.edu/records/bc0bf-nc666"

_POINTS = 29
_LFPW_FACES = 845
_PNG_EFFORT = 1  # the sharder decodes it again at once


@dataclass(frozen=True, slots=True)
class _Part:
    split: str
    suffix: str
    """What the names of its variables end with."""
    official: int

    @property
    def files(self) -> tuple[str, str]:
        """Colour, grey."""
        return f"COFW_{self.split}_color.mat", f"COFW_{self.split}.mat"


_TRAIN, _TEST = _Part("train", "Tr", 1345), _Part("test", "T", 507)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The annotations of one part; N faces."""

    part: _Part
    images: "CofwImages"
    landmarks: NDArray[np.float64]
    """`[N, 29, 2]`, pixels from 0."""
    visible: NDArray[np.bool_]
    """`[N, 29]`."""
    boxes: NDArray[np.float64]
    """`[N, 4]`, x0, y0, x1, y1."""

    @property
    def whole(self) -> bool:
        return len(self.landmarks) == self.part.official


class CofwImages:
    """The images of COFW's train or test faces, read one at a time.

    Args:
        root: Folder that holds the `.mat` files, resolved.
        split: `train` or `test`.

    Raises:
        DataError: If neither the colour nor the grey file of that split is there.
        AnnotationError: If the file leads out of `root` or is damaged.
    """

    def __init__(self, root: Path, split: str) -> None:
        part = _TRAIN if split == "train" else _TEST
        found = [root / name for name in part.files if is_file(root / name)]
        if not found:
            raise DataError(f"{root}: needs {' or '.join(part.files)} in it, see {SOURCE}")
        self.path = found[0]
        self.in_colour = self.path.name == part.files[0]
        self._root = root
        self._variable = f"Is{part.suffix}"
        with matlab.open_hdf5(self.path, root) as mat:
            self._count = mat.cell_count(self._variable)

    def __len__(self) -> int:
        return self._count

    def png(self, index: int) -> bytes:
        """One image, encoded as PNG: its pixels are those of the file, its bytes may differ from one zlib to the next.

        Args:
            index: Its place in the file, from 0.

        Raises:
            AnnotationError: If there is no such image, or it cannot be read.
        """
        with matlab.open_hdf5(self.path, self._root) as mat:
            pixels = mat.pixels(self._variable, index)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG", compress_level=_PNG_EFFORT)
        return stream.getvalue()


class CofwDataset:
    """A copy of COFW, train or test or both.

    Args:
        root: Folder that holds `COFW_train_color.mat` and `COFW_test_color.mat`, or the grey files without `_color`.

    Raises:
        DataError: If the folder, or both files, are missing.
        AnnotationError: If a file leads out of `root`, is damaged, or is not COFW's.
    """

    name = "cofw"

    def __init__(self, root: Path) -> None:
        self.protocol = protocols.get("29")
        self.root = root.resolve()
        parts = [part for part in (_TRAIN, _TEST) if any(is_file(self.root / name) for name in part.files)]
        if not parts:
            raise DataError(f"{root}: needs {_TRAIN.files[0]} and {_TEST.files[0]} in it, see {SOURCE}")
        tables = [_read_table(part, self.root) for part in parts]
        self.problems: Sequence[str] = tuple(_problems(tables))
        self._faces = {_locator(table, i): (table, i) for table in tables for i in range(len(table.landmarks))}
        self._refs = tuple(_ref(table, i) for table, i in self._faces.values())

    def index(self) -> Sequence[SampleRef]:
        """All faces: train before test, each in the order of its file."""
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face; landmarks flagged as occluded are not visible, and the box is the file's own.

        Raises:
            AnnotationError: If its image cannot be read, or the face is not in the index.
        """
        if ref.locator not in self._faces:
            raise AnnotationError(f"{ref.locator!r} is not a face of {self.root}; take it from index()")
        table, i = self._faces[ref.locator]
        x0, y0, x1, y1 = table.boxes[i].tolist()
        return FaceSample(
            ref=ref,
            image=table.images.png(i),
            landmarks=table.landmarks[i].copy(),
            visible=table.visible[i].copy(),
            box=(x0, y0, x1, y1),
            attributes=_attributes(table, i),
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)


def corner_boxes(boxes: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """Boxes of MATLAB's `[x y width height]`, counted from 1, as corners counted from 0.

    Args:
        boxes: `[N, 4]`, pixels.
        what: File and variable, for messages.

    Returns:
        `[N, 4]`, x0, y0, x1, y1, pixels.

    Raises:
        AnnotationError: If a box has no extent.
    """
    flat = np.flatnonzero((boxes[:, 2:] <= 0).any(axis=1))
    if len(flat):
        raise AnnotationError(f"{what}({flat[0] + 1}, :) must be x y width height, got {boxes[flat[0]].tolist()}")
    corner = boxes[:, :2] - 1.0
    return np.concatenate([corner, corner + boxes[:, 2:]], axis=1)


def _read_table(part: _Part, root: Path) -> _Table:
    images = CofwImages(root, part.split)
    points_name, boxes_name = f"phis{part.suffix}", f"bboxes{part.suffix}"
    with matlab.open_hdf5(images.path, root) as mat:
        points = mat.numbers(points_name, (len(images), 3 * _POINTS))
        boxes = mat.numbers(boxes_name, (len(images), 4))
    x, y, occluded = np.split(points, 3, axis=1)
    return _Table(
        part=part,
        images=images,
        landmarks=np.stack([x, y], axis=-1) - 1.0,
        visible=~matlab.flags(occluded, f"{images.path}: {points_name}, occlusion"),
        boxes=corner_boxes(boxes, f"{images.path}: {boxes_name}"),
    )


def _problems(tables: Sequence[_Table]) -> Iterator[str]:
    found_parts = [table.part for table in tables]
    missing = [part for part in (_TRAIN, _TEST) if part not in found_parts]
    yield from (f"{part.files[0]} is missing: no {part.split} faces" for part in missing)
    for table in tables:
        name, found, official = table.images.path.name, len(table.landmarks), table.part.official
        if not table.whole:
            yield f"{name}: {found} faces found, {official} are official"
        if not table.images.in_colour:
            yield f"{name}: its images are grey; the colour release is {table.part.files[0]}"
    if not any(table.whole for table in tables if table.part == _TEST):
        yield "subset 'cofw' is not declared, because the test set must be whole"


def _locator(table: _Table, i: int) -> str:
    return f"{table.images.path.name}#{i + 1}"


def _ref(table: _Table, i: int) -> SampleRef:
    split = table.part.split
    return SampleRef(
        key=f"cofw_{split}_{i + 1:04d}",
        locator=_locator(table, i),
        split=split,
        subsets=("cofw",) if table.whole and table.part == _TEST else (),
        group=f"cofw/{split}/{i + 1:04d}",
    )


def _attributes(table: _Table, i: int) -> dict[str, str | float | bool]:
    if table.part != _TRAIN or not table.whole:
        return {}
    return {"source": "lfpw" if i < _LFPW_FACES else "cofw"}
