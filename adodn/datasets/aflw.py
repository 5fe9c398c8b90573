"""AFLW with 19 landmarks: the images of AFLW, and the table `AFLWinfo_release.mat` that others made of them.

    dataset = AflwDataset(Path("aflw"))
    dataset.problems          # images that this copy lacks, and an unusual number of frontal faces

The table gives each face a photo, a box, 19 landmarks (the 21 of AFLW without the ears) and which of them are visible,
and it orders the faces: the first 20,000 train, the other 4,386 test. Landmarks that are turned away or covered have
places in it too; they are handed on as they stand, and marked as not visible.

Subset `full` is the whole test set. `frontal` is its faces whose 19 landmarks are all visible and lie strictly inside
the box. Two sizes of it are published, 1,314 (in the text of HRNet) and 1,165 (on the boards of Papers with Code), and
we found neither beside a rule that yields it. The rule here is the one that SAN's scripts follow; no copy of the table
was at hand to count what it yields. Where that is neither number, `problems` says how many faces it is: compare errors
on `frontal` only where the numbers of faces are equal.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adodn import protocols
from adodn.datasets import matlab
from adodn.datasets.files import MAX_IMAGE_BYTES, inside, is_file, read_file
from adodn.errors import AnnotationError, DataError
from adodn.samples import FaceSample, SampleRef

TABLE = "AFLWinfo_release.mat"
IMAGES = "flickr"
NUM_TRAIN, NUM_FACES = 20_000, 24_386
PUBLISHED_FRONTAL = (1314, 1165)

_POINTS = 19
_SOURCES = (
    "https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw/ (images, on request) and "
    "http://mmlab.ie.cuhk.edu.hk/projects/compositional.html (table)"
)
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_-]*\.[A-Za-z]{3,4}")
"""`0/image00002.jpg`; no part begins with a dot, so none leads upwards."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AflwTable:
    """The table, in its own order of rows; N faces."""

    names: tuple[str, ...]
    """Path of the photo below `flickr`, as it is on disk: with `.jpg`, whatever the table says."""
    landmarks: NDArray[np.float64]
    """`[N, 19, 2]`, pixels from 0."""
    visible: NDArray[np.bool_]
    """`[N, 19]`."""
    boxes: NDArray[np.float64]
    """`[N, 4]`, x0, y0, x1, y1, pixels from 0."""
    order: NDArray[np.int64]
    """`[N]`: rows from 0, training faces first."""

    @property
    def frontal(self) -> NDArray[np.bool_]:
        """`[N]`: all landmarks visible and strictly inside the box."""
        low, high = self.boxes[:, None, :2], self.boxes[:, None, 2:]
        within = (self.landmarks > low) & (self.landmarks < high)
        return np.asarray(within.all(axis=(1, 2)) & self.visible.all(axis=1), dtype=np.bool_)


def read_table(root: Path) -> AflwTable:
    """Read the table alone, of any number of faces; needs no images.

    Args:
        root: Folder that holds `AFLWinfo_release.mat`, of MATLAB version 5 or 7.3.

    Raises:
        AnnotationError: If the file is missing or damaged, leads out of `root`, or breaks its own rules.
    """
    path = root.resolve() / TABLE
    with matlab.open_mat(path, path.parent) as mat:
        names = mat.texts("nameList")
        rows = len(names)
        boxes = mat.numbers("bbox", (rows, 4))
        data = mat.numbers("data", (rows, 2 * _POINTS))
        mask = mat.numbers("mask_new", (rows, _POINTS))
        order = mat.numbers("ra", (None, None)).ravel()
    return AflwTable(
        names=tuple(_photo(name, f"{path}: nameList{{{i + 1}}}") for i, name in enumerate(names)),
        landmarks=np.stack([data[:, :_POINTS], data[:, _POINTS:]], axis=-1) - 1.0,
        visible=matlab.flags(mask, f"{path}: mask_new"),
        boxes=_corners(boxes, f"{path}: bbox"),
        order=_rows(order, rows, f"{path}: ra"),
    )


class AflwDataset:
    """A copy of AFLW; faces whose image is not there are left out, and `problems` counts them.

    Args:
        root: Folder that holds `AFLWinfo_release.mat` and `flickr`.

    Raises:
        DataError: If the folder, the table, or every image is missing.
        AnnotationError: If the table is damaged or not AFLW's, or leads out of `root`.
    """

    name = "aflw"

    def __init__(self, root: Path) -> None:
        self.protocol = protocols.get("19")
        self.root = root.resolve()
        if not is_file(self.root / TABLE):
            raise DataError(f"{root}: needs {TABLE} and {IMAGES}/0/image00002.jpg … in it, see {_SOURCES}")
        self._table = read_table(self.root)
        if len(self._table.names) != NUM_FACES:
            raise AnnotationError(f"{root / TABLE}: has {len(self._table.names)} faces, AFLW has {NUM_FACES}")
        self._frontal = self._table.frontal
        order = self._table.order.tolist()
        present = _present(self.root, self._table.names)
        missing = [place for place, row in enumerate(order) if self._table.names[row] not in present]
        if len(missing) == NUM_FACES:
            raise DataError(f"{root}: has no image that {TABLE} names; put them in {IMAGES}, see {_SOURCES}")
        self._whole = not missing or missing[-1] < NUM_TRAIN
        self.problems: Sequence[str] = tuple(self._problems(len(missing)))
        left_out = set(missing)
        kept = [(place, row) for place, row in enumerate(order) if place not in left_out]
        self._rows = {self._locator(row): row for _, row in kept}
        self._refs = tuple(self._ref(place, row) for place, row in kept)

    def index(self) -> Sequence[SampleRef]:
        """All faces whose image is there, in the table's order `ra`: train before test."""
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face; the box is the table's own.

        Raises:
            AnnotationError: If its image cannot be read or leads out of the root, or the face is not in the index.
        """
        if ref.locator not in self._rows:
            raise AnnotationError(f"{ref.locator!r} is not a face of {self.root}; take it from index()")
        row = self._rows[ref.locator]
        x0, y0, x1, y1 = self._table.boxes[row].tolist()
        path = inside(self.root / IMAGES / self._table.names[row], self.root)
        return FaceSample(
            ref=ref,
            image=read_file(path, MAX_IMAGE_BYTES),
            landmarks=self._table.landmarks[row].copy(),
            visible=self._table.visible[row].copy(),
            box=(x0, y0, x1, y1),
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def _problems(self, missing: int) -> Iterator[str]:
        if missing:
            yield f"{missing} of {NUM_FACES} faces are left out, because their image is not in {IMAGES}"
        if not self._whole:
            yield "subsets 'full' and 'frontal' are not declared, because the test set must be whole"
        found = int(self._frontal[self._table.order[NUM_TRAIN:]].sum())
        if found not in PUBLISHED_FRONTAL:
            published = " and ".join(map(str, PUBLISHED_FRONTAL))
            yield f"{found} test faces are frontal by the rule; {published} are published"

    def _locator(self, row: int) -> str:
        return f"{IMAGES}/{self._table.names[row]}#{row + 1}"

    def _ref(self, place: int, row: int) -> SampleRef:
        is_test = place >= NUM_TRAIN
        declared = ("full", "frontal") if self._frontal[row] else ("full",)
        return SampleRef(
            key=f"aflw_{row + 1:05d}",
            locator=self._locator(row),
            split="test" if is_test else "train",
            subsets=declared if is_test and self._whole else (),
            group=f"aflw/{self._table.names[row].removesuffix('.jpg')}",
        )


def _photo(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise AnnotationError(
            f"{what}: must be the path of an image below {IMAGES}, like 0/image00002.jpg, got {name!r}"
        )
    return f"{name.rpartition('.')[0]}.jpg"


def _corners(boxes: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """From x0 x1 y0 y1, counted from 1."""
    corners = boxes[:, [0, 2, 1, 3]] - 1.0
    flat = np.flatnonzero((corners[:, 2:] <= corners[:, :2]).any(axis=1))
    if len(flat):
        row = flat[0]
        raise AnnotationError(f"{what}({row + 1}, :) must be x0 x1 y0 y1 of a box, got {boxes[row].tolist()}")
    return corners


def _rows(order: NDArray[np.float64], rows: int, what: str) -> NDArray[np.int64]:
    if not np.array_equal(np.sort(order), np.arange(1, rows + 1)):
        odd = sorted(set(order.tolist()) - set(range(1, rows + 1)))[:3]
        raise AnnotationError(f"{what} must name each of the rows 1 to {rows} once, got {len(order)}, among them {odd}")
    return order.astype(np.int64) - 1


def _present(root: Path, names: tuple[str, ...]) -> set[str]:
    """The names that are there: one listing a folder is far cheaper than a look at each of 21,000 files."""
    folders = {name.rpartition("/")[0] for name in names}
    found: set[str] = set()
    for folder in folders:
        real = inside(root / IMAGES / folder, root)
        files = real.iterdir() if real.is_dir() else ()
        found.update(f"{folder}/{path.name}".removeprefix("/") for path in files)
    return found.intersection(names)
