"""A user's own faces as a folder of images, a `.pts` file beside each. It changes no image.

    own/train/ann/001.jpg  own/train/ann/001.pts    the first folder may be train, val or test; else all is train
    own/test/bob.png       own/test/bob.pts

Points are counted from 1, as in 300W. Faces of one folder below the split, if there is one, are held together as a
group.
"""

from pathlib import Path

import numpy as np

from adodn.datasets.files import inside, is_file, read_file
from adodn.datasets.listed import ListedDataset, ListedFace
from adodn.datasets.own import box_of
from adodn.datasets.pts import MAX_BYTES, parse_pts
from adodn.datasets.w300 import safe_key
from adodn.errors import AnnotationError, DataError
from adodn.protocols import LandmarkProtocol
from adodn.samples import SampleRef

_SPLITS = ("train", "val", "test")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


class PtsFolderDataset(ListedDataset):
    """Faces of a folder tree.

    Args:
        root: The folder.
        protocol: What the points are.

    Raises:
        DataError: If there is no `.pts` file below it.
        AnnotationError: If a `.pts` file is wrong, or has no image, or two.
    """

    name = "pts"

    def __init__(self, root: Path, protocol: LandmarkProtocol) -> None:
        self.protocol = protocol
        root = root.resolve()
        files = sorted(path.relative_to(root) for path in root.rglob("*.pts"))
        if not files:
            raise DataError(f"{root}: holds no .pts file; each image needs one of its name beside it")
        faces = [_face(root, path, protocol) for path in files]
        faces.sort(key=lambda face: _SPLITS.index(face.ref.split))
        super().__init__(root, faces, ())


def _face(root: Path, path: Path, protocol: LandmarkProtocol) -> ListedFace:
    data = read_file(inside(root / path, root), MAX_BYTES)
    landmarks = parse_pts(data, num_landmarks=protocol.num_landmarks, where=str(root / path))
    beside = [root / path.with_suffix(suffix) for suffix in _IMAGE_SUFFIXES]
    images = [image for image in beside if is_file(image)]
    if len(images) != 1:
        raise AnnotationError(f"{root / path}: needs one image of the same name beside it, found {len(images)}")
    split, folder = _place(path)
    return ListedFace(
        ref=SampleRef(
            key=safe_key(split, path.with_suffix("").as_posix()),
            locator=path.as_posix(),
            split=split,
            group="/".join(folder) or path.stem,
        ),
        image=images[0],
        landmarks=landmarks,
        visible=np.ones(len(landmarks), dtype=np.bool_),
        box=box_of(landmarks, None, str(path)),
        attributes={},
    )


def _place(path: Path) -> tuple[str, tuple[str, ...]]:
    """The split, and the folders below it."""
    folders = path.parts[:-1]
    if folders and folders[0] in _SPLITS:
        return folders[0], folders[1:]
    return "train", folders
