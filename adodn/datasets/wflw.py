"""WFLW: 98 landmarks, six kinds of difficulty marked, several faces an image. It reads the lists that have a face box.

    dataset = WFLWDataset(Path("WFLW"))
    dataset.problems          # what this copy lacks, against the official counts

A line has 207 words: 98 times x y, counted from 0; the box x0 y0 x1 y1; six flags, 0 or 1; the image's name below
`WFLW_images`. Points may lie outside the image. A subset's name is used only where all its faces are there, because a
number on a part of it could not be compared with anything published. The plain lists in `list_98pt_test` repeat the
same faces and are not read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from adodn import protocols
from adodn.datasets.files import inside, numbers, text_lines
from adodn.datasets.listed import ListedDataset, ListedFace
from adodn.errors import AnnotationError, DataError
from adodn.samples import Box, SampleRef

FLAGS = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
"""In the order of the list's columns."""
_OFFICIAL_SPLITS = {"train": 7500, "test": 2500}
_OFFICIAL_SUBSETS = {
    "full": 2500,
    "pose": 326,
    "expression": 314,
    "illumination": 698,
    "make-up": 206,
    "occlusion": 736,
    "blur": 773,
}
_LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"
_IMAGES = "WFLW_images"
_SOURCE = "https://wywu.github.io/projects/LAB/WFLW.html"
_LANDMARKS = 98
_BOX_START, _FLAGS_START, _NAME = 2 * _LANDMARKS, 2 * _LANDMARKS + 4, 2 * _LANDMARKS + 10


class WFLWDataset(ListedDataset):
    """A copy of WFLW, whole or in part.

    Args:
        root: Folder that holds `WFLW_annotations` and `WFLW_images`.

    Raises:
        DataError: If the folder, or both lists in it, are missing or empty.
        AnnotationError: If a line breaks the format, an image is missing, or its name leads out of `root`.
    """

    name = "wflw"

    def __init__(self, root: Path) -> None:
        self.protocol = protocols.get(str(_LANDMARKS))
        real = root.resolve()
        faces = [face for split in _OFFICIAL_SPLITS for face in _faces(real, split)]
        if not faces:
            raise DataError(
                f"{root}: WFLW needs {_LISTS}/list_98pt_rect_attr_{{train,test}}.txt with faces in it, see {_SOURCE}"
            )
        found = Counter(name for face in faces for name in face.ref.subsets)
        whole = {name for name, official in _OFFICIAL_SUBSETS.items() if found[name] == official}
        super().__init__(real, [_claiming(face, whole) for face in faces], _problems(faces, found, whole))


def _faces(root: Path, split: str) -> Iterator[ListedFace]:
    path = inside(root / _LISTS / f"list_98pt_rect_attr_{split}.txt", root)
    if path.is_file():
        for number, line in text_lines(path):
            yield _face(line.split(), root, split, number, where=f"{path}:{number}")


def _face(words: Sequence[str], root: Path, split: str, number: int, *, where: str) -> ListedFace:
    if len(words) != _NAME + 1:
        raise AnnotationError(f"{where}: a line of WFLW has {_NAME + 1} words, got {len(words)}")
    values = numbers(words[:_FLAGS_START], where=where)
    flags = _flags(words[_FLAGS_START:_NAME], where)
    name = words[_NAME]
    marked = tuple(flag for flag, is_set in flags.items() if is_set)
    ref = SampleRef(
        key=f"{split}_{number:05d}",
        locator=f"list_98pt_rect_attr_{split}.txt:{number}",
        split=split,
        subsets=("full", *marked) if split == "test" else (),
        group=PurePosixPath(name).as_posix(),
    )
    return ListedFace(
        ref=ref,
        image=root / _IMAGES / name,
        landmarks=np.array(values[:_BOX_START], dtype=np.float64).reshape(_LANDMARKS, 2),
        box=_box(values[_BOX_START:], where),
        attributes={"image": name, **flags},
    )


def _box(values: Sequence[float], where: str) -> Box:
    x0, y0, x1, y1 = values
    if x0 >= x1 or y0 >= y1:
        raise AnnotationError(f"{where}: a box is x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {list(values)}")
    return x0, y0, x1, y1


def _flags(words: Sequence[str], where: str) -> dict[str, bool]:
    if not set(words) <= {"0", "1"}:
        raise AnnotationError(f"{where}: the flags {', '.join(FLAGS)} are 0 or 1, got {list(words)}")
    return {flag: word == "1" for flag, word in zip(FLAGS, words, strict=True)}


def _claiming(face: ListedFace, whole: set[str]) -> ListedFace:
    """The face, with only those of its subsets that are whole."""
    kept = tuple(name for name in face.ref.subsets if name in whole)
    return replace(face, ref=replace(face.ref, subsets=kept))


def _problems(faces: Sequence[ListedFace], found: Counter[str], whole: set[str]) -> list[str]:
    splits = Counter(face.ref.split for face in faces)
    counts = [
        f"{split}: {splits[split]} faces found, {official} are official"
        for split, official in _OFFICIAL_SPLITS.items()
        if splits[split] != official
    ]
    subsets = [
        f"subset {name!r} is not declared: {found[name]} faces found, {official} are official"
        for name, official in _OFFICIAL_SUBSETS.items()
        if name not in whole
    ]
    return counts + subsets
