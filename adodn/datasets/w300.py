"""300W: images with a `.pts` file beside each, in the folders of its official parts. It changes no image.

    dataset = W300Dataset(Path("300w"))
    dataset.problems          # what this copy lacks, against the official counts

Training faces are AFW and the training sets of HELEN and LFPW. The Common subset is the test sets of HELEN and LFPW,
Challenging is IBUG, Full is both. A subset's name is used only where all its faces are there, because a number on a
part of it could not be compared with anything published; a part's faces always count for the part's own name.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from adodn import protocols
from adodn.datasets.files import MAX_IMAGE_BYTES, inside, read_file
from adodn.datasets.pts import MAX_BYTES, parse_pts
from adodn.errors import AnnotationError, DataError
from adodn.samples import FaceSample, SampleRef


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of 300W, with images and `.pts` files in it."""

    folder: str
    """Path below the root."""
    name: str
    """Subset that its test faces always count for."""
    split: str
    official: int
    """Faces that the whole part has."""

    @property
    def prefix(self) -> str:
        """What its keys begin with."""
        return self.folder.replace("/", "_")


_AFW = Part("afw", "afw", "train", 337)
_HELEN_TRAIN = Part("helen/trainset", "helen", "train", 2000)
_HELEN_TEST = Part("helen/testset", "helen", "test", 330)
_LFPW_TRAIN = Part("lfpw/trainset", "lfpw", "train", 811)
_LFPW_TEST = Part("lfpw/testset", "lfpw", "test", 224)
_IBUG = Part("ibug", "ibug", "test", 135)
_SOURCE = "https://ibug.doc.ic.ac.uk/resources/300-W/"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,64}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]")
_FACE_OF_PHOTO = re.compile(r"^(.+?) *_[0-9]{1,2}$")
"""`134212_2` is the second face of photo `134212`; LFPW's `image_0001` is a photo's own number."""


@dataclass(frozen=True, slots=True)
class _Face:
    part: Part
    annotation: Path
    image: Path


class W300Dataset:
    """A copy of 300W, whole or in part.

    Args:
        root: Folder that holds `afw`, `helen`, `lfpw` and `ibug`.

    Raises:
        DataError: If the folder, or every part in it, is missing.
        AnnotationError: If a `.pts` file has no image, or two, or a file is a link that leads out of `root`.
    """

    name = "300w"
    parts: ClassVar[tuple[Part, ...]] = (_AFW, _HELEN_TRAIN, _LFPW_TRAIN, _HELEN_TEST, _LFPW_TEST, _IBUG)
    """In the order of the index."""
    subsets: ClassVar[dict[str, tuple[Part, ...]]] = {
        "common": (_HELEN_TEST, _LFPW_TEST),
        "challenging": (_IBUG,),
        "full": (_HELEN_TEST, _LFPW_TEST, _IBUG),
    }
    """Name → parts that must be whole for it."""

    def __init__(self, root: Path) -> None:
        self.protocol = protocols.get("68")
        self.root = root.resolve()
        tree = ", ".join(part.folder for part in self.parts)
        if not self.root.is_dir():
            raise DataError(f"{root}: no such folder; {self.name} needs {tree} in it, see {_SOURCE}")
        self._counts: dict[Part, int] = {}
        self._unannotated = 0
        self._faces: dict[str, _Face] = {}
        for part in self.parts:
            self._add(part)
        if not self._faces:
            raise DataError(f"{root}: holds no .pts file where {self.name} has them; it needs {tree}, see {_SOURCE}")
        self.problems: Sequence[str] = self._problems()
        self._refs = tuple(self._ref(locator, face.part) for locator, face in self._faces.items())

    def index(self) -> Sequence[SampleRef]:
        """All faces: parts in official order, files by name."""
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face; the box is the tight box around its landmarks, and all landmarks count as visible.

        Raises:
            AnnotationError: If its `.pts` file or image cannot be read, or the face is not in the index.
        """
        face = self._faces.get(ref.locator)
        if face is None:
            raise AnnotationError(f"{ref.locator!r} is not a face of {self.root}; take it from index()")
        data = read_file(face.annotation, MAX_BYTES)
        landmarks = parse_pts(data, num_landmarks=self.protocol.num_landmarks, where=str(face.annotation))
        (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
        return FaceSample(
            ref=ref,
            image=read_file(face.image, MAX_IMAGE_BYTES),
            landmarks=landmarks,
            visible=np.ones(len(landmarks), dtype=np.bool_),
            box=(x0, y0, x1, y1),
            attributes={"part": face.part.folder},
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def _add(self, part: Part) -> None:
        folder = self.root / part.folder
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        images = _by_stem(path for path in files if path.suffix.lower() in _IMAGE_SUFFIXES)
        annotations = [path for path in files if path.suffix.lower() == ".pts"]
        for path in annotations:
            beside = images.pop(path.stem, [])
            if len(beside) != 1:
                raise AnnotationError(f"{path}: needs one image of the same name beside it, found {len(beside)}")
            face = _Face(part, inside(path, self.root), inside(beside[0], self.root))
            self._faces[f"{part.folder}/{path.name}"] = face
        self._counts[part] = len(annotations)
        self._unannotated += len(images)

    def _problems(self) -> tuple[str, ...]:
        parts = [
            f"{part.folder}: {found} faces found, {part.official} are official"
            for part, found in self._counts.items()
            if found != part.official
        ]
        subsets = [
            f"subset {name!r} is not declared, because {' and '.join(part.folder for part in needed)} must be whole"
            for name, needed in self.subsets.items()
            if not self._whole(needed)
        ]
        images = [f"{self._unannotated} images have no .pts file and are left out"] if self._unannotated else []
        return (*parts, *subsets, *images)

    def _whole(self, parts: tuple[Part, ...]) -> bool:
        return all(self._counts[part] == part.official for part in parts)

    def _ref(self, locator: str, part: Part) -> SampleRef:
        stem = Path(locator).stem
        photo = _FACE_OF_PHOTO.match(stem)
        own = (part.name,) if part.split == "test" else ()
        whole = tuple(name for name, parts in self.subsets.items() if part in parts and self._whole(parts))
        return SampleRef(
            key=safe_key(part.prefix, stem),
            locator=locator,
            split=part.split,
            subsets=own + whole,
            group=f"{part.prefix}/{photo[1] if photo else stem}",
        )


def safe_key(prefix: str, name: str) -> str:
    """A WebDataset key for a file: no dots, no blanks, and never the same for two names.

    A name that has to be changed, and only such a one, gets a hash of itself behind a `-`; a name that has a `-` by
    itself counts as one to be changed.
    """
    if _PLAIN.fullmatch(name):
        return f"{prefix}_{name}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{prefix}_{_UNSAFE.sub('_', name)[:48]}-{digest}"


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    for path in paths:
        stems.setdefault(path.stem, []).append(path)
    return stems
