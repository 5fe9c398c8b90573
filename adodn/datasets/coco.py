"""A user's own faces as COCO keypoint JSON. It reads no image.

    own/train.json  own/faces_val.json  own/test_2.json   any name with train, val or test as a word of it;
                                                          `annotations.json` is train
    own/images/...                                        or wherever `file_name` leads, inside `own`

A keypoint is `x, y, v`: v = 2 is visible, 1 is covered, 0 was not annotated, which a face must not have. Where a file
never says 2 (converters for faces often write 1 for all), 1 counts as visible, and `problems` says so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adodn.datasets.files import inside, is_file, read_file
from adodn.datasets.listed import ListedDataset, ListedFace
from adodn.datasets.own import box_of, image_beside
from adodn.datasets.w300 import safe_key
from adodn.errors import AnnotationError, DataError
from adodn.protocols import LandmarkProtocol
from adodn.samples import SampleRef

MAX_BYTES = 1_000_000_000
_SPLITS = ("train", "val", "test")

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Image(_Record):
    id: int
    file_name: str


class _Annotation(_Record):
    id: int
    image_id: int
    keypoints: list[_Finite]
    bbox: tuple[_Finite, _Finite, _Finite, _Finite] | None = None
    """x y w h."""
    iscrowd: int = 0


class _File(_Record):
    images: list[_Image]
    annotations: list[_Annotation]


@dataclass(frozen=True, slots=True)
class _Source:
    """One file, and what its annotations need to become faces."""

    path: Path
    split: str
    protocol: LandmarkProtocol
    file: _File
    images: dict[int, str]
    tells_visible: bool
    """Whether any keypoint says 2."""

    def faces(self) -> Iterator[ListedFace]:
        """The faces of the file, in its order; crowds are left out."""
        return (self._face(annotation) for annotation in self.file.annotations if not annotation.iscrowd)

    def _face(self, annotation: _Annotation) -> ListedFace:
        where = f"{self.path}: annotation {annotation.id}"
        if annotation.image_id not in self.images:
            raise AnnotationError(f"{where}: image_id {annotation.image_id} is not among the images of the file")
        points = self._points(annotation, where)
        file_name = self.images[annotation.image_id]
        return ListedFace(
            ref=SampleRef(
                key=safe_key(self.path.stem, str(annotation.id)),
                locator=f"{self.path.name}#{annotation.id}",
                split=self.split,
                group=file_name,
            ),
            image=image_beside(self.path.parent, file_name),
            landmarks=points[:, :2],
            visible=points[:, 2] >= (2 if self.tells_visible else 1),
            box=box_of(points[:, :2], annotation.bbox, where),
            attributes={"file_name": file_name},
        )

    def _points(self, annotation: _Annotation, where: str) -> NDArray[np.float64]:
        """`[L, 3]`: x, y, v."""
        expected = 3 * self.protocol.num_landmarks
        if len(annotation.keypoints) != expected:
            raise AnnotationError(
                f"{where}: protocol {self.protocol.name!r} needs {expected} numbers (x, y, v of each landmark), "
                f"got {len(annotation.keypoints)}"
            )
        points = np.array(annotation.keypoints).reshape(-1, 3)
        wrong = np.flatnonzero(~np.isin(points[:, 2], (1, 2)))
        if wrong.size:
            raise AnnotationError(
                f"{where}: landmark {wrong[0]} has v = {points[wrong[0], 2]:g}, it must be 1 or 2, because every one "
                f"of a face is needed; annotate it, or take the face out of the file"
            )
        return points


class CocoDataset(ListedDataset):
    """Faces of COCO keypoint files.

    Args:
        root: Folder with the files named above.
        protocol: What the keypoints are.

    Raises:
        DataError: If no such file is there, or a name speaks of two splits.
        AnnotationError: If a file is not what it should be; the message names the annotation by its id.
    """

    name = "coco"

    def __init__(self, root: Path, protocol: LandmarkProtocol) -> None:
        self.protocol = protocol
        root = root.resolve()
        sources = [_open(path, split, protocol) for path, split in _files(root)]
        if not sources:
            raise DataError(
                f"{root}: needs COCO keypoints in train.json, val.json, test.json or annotations.json, or in files "
                "with one of the first three words in their names, like faces_train.json; it has none of these"
            )
        problems = [
            f"{source.path.name}: no keypoint says 2 (visible), so 1 counts as visible"
            for source in sources
            if not source.tells_visible
        ]
        super().__init__(root, [face for source in sources for face in source.faces()], problems)


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    """The files of annotations, train first, each with its split."""
    paths = [path for path in sorted(root.glob("*.json")) if is_file(path)]
    words = {path: re.split("[^a-z]+", path.stem.lower()) for path in paths}
    for path in paths:
        splits = [split for split in _SPLITS if split in words[path]]
        if len(splits) > 1:
            raise DataError(f"{path}: its name must hold one of {', '.join(_SPLITS)}, it holds {' and '.join(splits)}")
    for split in _SPLITS:
        yield from ((path, split) for path in paths if split in words[path])
    yield from ((path, "train") for path in paths if path.stem == "annotations")


def _open(path: Path, split: str, protocol: LandmarkProtocol) -> _Source:
    file = _parse(path)
    return _Source(
        path=path,
        split=split,
        protocol=protocol,
        file=file,
        images={image.id: image.file_name for image in file.images},
        tells_visible=any(2 in annotation.keypoints[2::3] for annotation in file.annotations),
    )


def _parse(path: Path) -> _File:
    try:
        return _File.model_validate_json(read_file(inside(path, path.parent), MAX_BYTES))
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"])) or "the file"
        raise AnnotationError(f"{path}: is not COCO keypoints: {place}: {found['msg']}") from None
