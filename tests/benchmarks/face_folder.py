"""Faces of 256 px as JPEG files in a folder: the raw dataset that sharding and loading are measured on.

Crops of 300W where it is at hand (`$ADODN_SHARED_DATA`, or `../shared/data` beside the repository), else rendered.

dataset = FaceFolder(Path(folder), faces=256)
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from adodn import datasets
from adodn.data import images
from adodn.data.manifest import ImagePolicy, Manifest
from adodn.data.plan import plan
from adodn.data.shards import publish_manifest, publish_shard, version_uri
from adodn.data.store import S3Store
from adodn.datasets.synthetic import SyntheticDataset
from adodn.samples import FaceSample, SampleRef

SIZE_PX = 256
_FACES_PER_SHARD = 64
_MARGIN = 2.0
_PICTURES = 32
"""Different pictures; preparing more would take longer than what is measured."""
_BESIDE = Path(__file__).parents[3] / "shared" / "data"
REAL = Path(os.environ.get("ADODN_SHARED_DATA") or _BESIDE) / "300w"


class FaceFolder:
    """A dataset whose images are files and whose annotations are at hand, so that reading it costs next to nothing.

    Args:
        folder: Where to write the files.
        faces: How many; every 32nd has the same picture, in a file of its own.
    """

    name = "folder"
    problems: Sequence[str] = ()

    def __init__(self, folder: Path, *, faces: int) -> None:
        self.pictures_are = "300W crops" if REAL.is_dir() else "rendered faces"
        self._pictures = _crops() if REAL.is_dir() else _rendered()
        self.protocol = datasets.open("synthetic", None).protocol
        self._refs = []
        for number in range(faces):
            path = folder / f"face-{number:06d}.jpg"
            path.write_bytes(self._picture(number).image)
            self._refs.append(SampleRef(key=path.stem, locator=str(path), split="train"))

    def index(self) -> Sequence[SampleRef]:
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        path = Path(ref.locator)
        return replace(self._picture(int(path.stem[-6:])), ref=ref, image=path.read_bytes())

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def _picture(self, number: int) -> FaceSample:
        return self._pictures[number % len(self._pictures)]


def in_shards(faces: FaceFolder, store: S3Store) -> tuple[str, Manifest]:
    """Publish all faces as training faces, in shards of 64: their folder's address, and the manifest."""
    policy = ImagePolicy()
    planned = plan(faces, policy, samples_per_shard=_FACES_PER_SHARD, val_fraction=0)
    uri = version_uri("s3://adodn/datasets", planned)
    entries = {shard.name: publish_shard(faces, store, uri, shard, policy) for shard in planned.shards}
    return uri, publish_manifest(store, uri, planned, entries)[1]


def _rendered() -> list[FaceSample]:
    rendered = SyntheticDataset(num_train=_PICTURES, num_val=0, num_common=0, num_challenging=0, size_px=SIZE_PX)
    return list(rendered)


def _crops() -> list[FaceSample]:
    raw = datasets.open("300w", REAL)
    refs = raw.index()
    return [_crop(raw.read(refs[number * len(refs) // _PICTURES])) for number in range(_PICTURES)]


def _crop(face: FaceSample) -> FaceSample:
    """The square around the landmarks, at 256 px; black where it reaches beyond the photo."""
    low, high = face.landmarks.min(0), face.landmarks.max(0)
    scale = SIZE_PX / (_MARGIN * (high - low).max())
    shift = (SIZE_PX - 1) / 2 - scale * (low + high) / 2
    warp = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    pixels = cv2.warpAffine(images.decode(face.image, face.ref.locator), warp, (SIZE_PX, SIZE_PX), flags=cv2.INTER_AREA)
    landmarks = scale * face.landmarks + shift
    (x0, y0), (x1, y1) = landmarks.min(0).tolist(), landmarks.max(0).tolist()
    jpeg = images.encode(np.asarray(pixels, np.uint8), quality=95)
    return replace(face, image=jpeg, landmarks=landmarks, box=(x0, y0, x1, y1))
