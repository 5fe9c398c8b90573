"""MTFL: 5 landmarks, gender, smile, glasses and pose of faces from the web and from AFLW. It looks for no face boxes.

    dataset = MTFLDataset(Path("MTFL"))
    dataset.problems          # what this copy lacks, against the official counts

A line of `training.txt` or `testing.txt` has 15 words: the image's path, often with `\\`; x of left eye, right eye,
nose, left and right mouth corner, as seen in the image; their y; gender, smile, glasses and pose as numbers from 1.
Coordinates count from 1 in the file and from 0 here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from adodn import protocols
from adodn.datasets.files import inside, numbers, text_lines
from adodn.datasets.listed import ListedDataset, ListedFace
from adodn.errors import AnnotationError, DataError
from adodn.samples import SampleRef

POSES = ("left profile", "left", "frontal", "right", "right profile")
"""What the numbers 1 … 5 of the pose mean."""
_OFFICIAL = {"train": 10_000, "test": 2_995}
_LISTS = {"train": "training.txt", "test": "testing.txt"}
_ATTRIBUTES: dict[str, tuple[str, ...] | tuple[bool, ...]] = {
    "gender": ("male", "female"),
    "smile": (True, False),
    "glasses": (True, False),
    "pose": POSES,
}
_SOURCE = "https://mmlab.ie.cuhk.edu.hk/projects/TCDCN.html"
_LANDMARKS = 5
_WORDS = 1 + 2 * _LANDMARKS + len(_ATTRIBUTES)
_SOURCES_OF_NAMES = re.compile(
    r"_-?[0-9]+_([0-9]+)_[0-9]+"  # net_7876: yaw of the face, photo, face
    r"|([0-9]+)_[0-9]+_[0-9]+"  # net_7876: photo, face
    r"|(.+)_[0-9]{4}"  # lfw_5590: person, photo
    r"|[0-9]+-(.+)"  # AFLW: face, photo
)


class MTFLDataset(ListedDataset):
    """A copy of MTFL, whole or in part; test faces count for the subset `aflw` where all 2,995 are there.

    The group is the person for LFW's faces, else the photo. The folder `net_7876` numbers its photos twice over, so a
    group may hold two photos there; that parts none.

    Args:
        root: Folder that holds `training.txt`, `testing.txt` and the folders of images.

    Raises:
        DataError: If the folder, or both lists in it, are missing or empty.
        AnnotationError: If a line breaks the format, an image is missing, or its path leads out of `root`.
    """

    name = "mtfl"

    def __init__(self, root: Path) -> None:
        self.protocol = protocols.get(str(_LANDMARKS))
        real = root.resolve()
        lines = {split: list(_lines(real, split)) for split in _OFFICIAL}
        if not any(lines.values()):
            raise DataError(f"{root}: MTFL needs {' and '.join(_LISTS.values())} with faces in them, see {_SOURCE}")
        subsets = ("aflw",) if len(lines["test"]) == _OFFICIAL["test"] else ()
        faces = [
            _face(words, real, split, number, subsets if split == "test" else ())
            for split, listed in lines.items()
            for number, words in listed
        ]
        super().__init__(real, faces, _problems(faces))


def _lines(root: Path, split: str) -> Iterator[tuple[int, list[str]]]:
    path = inside(root / _LISTS[split], root)
    if path.is_file():
        for number, line in text_lines(path):
            words = line.split()
            if len(words) != _WORDS:
                raise AnnotationError(f"{path}:{number}: a line of MTFL has {_WORDS} words, got {len(words)}")
            yield number, words


def _face(words: Sequence[str], root: Path, split: str, number: int, subsets: tuple[str, ...]) -> ListedFace:
    where = f"{root / _LISTS[split]}:{number}"
    name = words[0].replace("\\", "/")
    values = numbers(words[1 : 1 + 2 * _LANDMARKS], where=where)
    landmarks = np.array(values, dtype=np.float64).reshape(2, _LANDMARKS).T - 1.0
    (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
    ref = SampleRef(
        key=f"{split}_{number:05d}",
        locator=f"{_LISTS[split]}:{number}",
        split=split,
        subsets=subsets,
        group=_group(PurePosixPath(name)),
    )
    return ListedFace(
        ref=ref,
        image=root / name,
        landmarks=landmarks,
        box=(x0, y0, x1, y1),
        attributes={"image": name, **_attributes(words[1 + 2 * _LANDMARKS :], where)},
    )


def _group(image: PurePosixPath) -> str:
    found = _SOURCES_OF_NAMES.fullmatch(image.stem)
    return f"{image.parent}/{found[found.lastindex or 0] if found else image.stem}"


def _attributes(words: Sequence[str], where: str) -> dict[str, str | bool]:
    named: dict[str, str | bool] = {}
    for (name, meanings), word in zip(_ATTRIBUTES.items(), words, strict=True):
        allowed = [str(i) for i in range(1, len(meanings) + 1)]
        if word not in allowed:
            raise AnnotationError(f"{where}: {name} is one of {', '.join(allowed)}, got {word!r}")
        named[name] = meanings[int(word) - 1]
    return named


def _problems(faces: Sequence[ListedFace]) -> list[str]:
    found = Counter(face.ref.split for face in faces)
    return [
        f"{_LISTS[split]}: {found[split]} faces found, {official} are official"
        for split, official in _OFFICIAL.items()
        if found[split] != official
    ]
