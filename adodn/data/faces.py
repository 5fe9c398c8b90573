"""Random access to the faces of one split, by their places in the manifest. It decides no order and warps nothing.

faces = FaceReader(manifest, base_uri=uri, source=store, cache=cache, split="train", protocol=protocols.get("68"))
annotations = faces.annotations(np.array([0, 7]))
image = decode(*faces.encoded(np.array([7]))[0])
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from adodn.data.cache import CachedShard, ShardCache, ShardSource
from adodn.data.images import MAX_PIXELS
from adodn.data.manifest import FaceRecord, Manifest
from adodn.errors import ConfigError, ShardError
from adodn.protocols import LandmarkProtocol

_SHARDS_READ = 128
"""Shards whose annotations are kept: two windows of shards of 128 faces; about 1.5 kB a face."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Annotations:
    """What is known of some faces, N of them."""

    keys: Sequence[str]
    subsets: Sequence[tuple[str, ...]]
    landmarks: NDArray[np.float64]
    """`[N, L, 2]`, pixels of the stored image."""
    visible: NDArray[np.bool_]
    """`[N, L]`."""
    boxes: NDArray[np.float64]
    """`[N, 4]`, x0 y0 x1 y1, pixels of the stored image."""
    stored_to_image: NDArray[np.float64]
    """`[N, 3]`, as in `FaceRecord`."""


class FaceReader:
    """The faces of one split. Usable from several threads.

    Args:
        manifest: The dataset.
        base_uri: The folder of its shards, e.g. `s3://bucket/datasets/300w/1`.
        source: Where shards come from.
        cache: Where they are kept on this machine.
        split: Which faces.
        protocol: The dataset's landmark protocol.

    Raises:
        ConfigError: If the split has no faces, or the dataset has another protocol.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        base_uri: str,
        source: ShardSource,
        cache: ShardCache,
        split: str,
        protocol: LandmarkProtocol,
    ) -> None:
        self._entries = manifest.splits.get(split, ())
        if not self._entries:
            having = ", ".join(sorted(name for name, shards in manifest.splits.items() if shards)) or "none"
            raise ConfigError(f"split {split!r} of {manifest.dataset}/{manifest.version} has no faces; it has {having}")
        if manifest.landmark_protocol != protocol:
            raise ConfigError(
                f"dataset {manifest.dataset}/{manifest.version} has protocol {manifest.protocol!r}, asked for "
                f"{protocol.name!r} or another definition of it; choose a model of its protocol"
            )
        self.shard_faces = [entry.samples for entry in self._entries]
        self._ends = np.cumsum(self.shard_faces)
        self._base_uri, self._source, self._cache, self._protocol = base_uri.rstrip("/"), source, cache, protocol
        self._read: OrderedDict[int, tuple[CachedShard, Annotations]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def num_landmarks(self) -> int:
        """L."""
        return self._protocol.num_landmarks

    def annotations(self, indices: NDArray[np.int64]) -> Annotations:
        """What is known of the faces at `indices` `[N]`.

        Raises:
            ShardError: If a shard or a record is damaged.
            StorageError: If a shard is not here and the store does not answer.
        """
        found = [(self.open(number)[1], place) for number, place in map(self._locate, indices.tolist())]
        return Annotations(
            keys=[part.keys[place] for part, place in found],
            subsets=[part.subsets[place] for part, place in found],
            landmarks=np.stack([part.landmarks[place] for part, place in found]),
            visible=np.stack([part.visible[place] for part, place in found]),
            boxes=np.stack([part.boxes[place] for part, place in found]),
            stored_to_image=np.stack([part.stored_to_image[place] for part, place in found]),
        )

    def encoded(self, indices: NDArray[np.int64]) -> list[tuple[bytes, str]]:
        """The stored images of the faces at `indices` `[N]`, as JPEG, each with its name for errors.

        All at once, since between two images the processor would have forgotten this code.

        Raises:
            ShardError: If a shard is damaged.
            StorageError: If a shard is not here and the store does not answer.
        """
        found = [(*self.open(number), place) for number, place in map(self._locate, indices.tolist())]
        return [(shard.image(place), f"{shard.uri}!{part.keys[place]}") for shard, part, place in found]

    def open(self, number: int) -> tuple[CachedShard, Annotations]:
        """Shard `number` of the split, brought to this machine, and the annotations of its faces.

        Raises:
            ShardError: If it is damaged.
            StorageError: If it is not here and the store does not answer.
        """
        entry = self._entries[number]
        shard = self._cache.open(entry, uri=f"{self._base_uri}/{entry.name}", source=self._source)
        read = self._read.get(number)
        if read is None or read[0] is not shard:
            read = shard, _annotations(shard, self._protocol.num_landmarks)
            with self._lock:
                self._read[number] = read
                while len(self._read) > _SHARDS_READ:
                    self._read.popitem(last=False)
        return read

    def _locate(self, index: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - (int(self._ends[number - 1]) if number else 0)


def _annotations(shard: CachedShard, num_landmarks: int) -> Annotations:
    records = [
        _record(shard.record(place), f"{shard.uri}!{face.key}", face.key, num_landmarks)
        for place, face in enumerate(shard.faces)
    ]
    return Annotations(
        keys=[record.key for record in records],
        subsets=[record.subsets for record in records],
        landmarks=np.array([record.landmarks for record in records]),
        visible=np.array([record.visible for record in records]),
        boxes=np.array([record.box for record in records]),
        stored_to_image=np.array([record.stored_to_image for record in records]),
    )


def _record(text: bytes, where: str, key: str, num_landmarks: int) -> FaceRecord:
    record = FaceRecord.from_json(text, f"{where}.json")
    x0, y0, x1, y1 = record.box
    counts = (len(record.landmarks), len(record.visible))
    rules = {
        f"key must be {key!r}, got {record.key!r}": record.key == key,
        f"must have {num_landmarks} landmarks and visibilities, got {counts}": counts == (num_landmarks,) * 2,
        f"box must have x0 < x1 and y0 < y1, got {record.box!r}": x0 < x1 and y0 < y1,
        f"scale of stored_to_image must be positive, got {record.stored_to_image!r}": record.stored_to_image[0] > 0,
    }
    for rule, holds in rules.items():
        if not holds:
            raise ShardError(f"{where}.json: {rule}; shard the dataset again")
    return record


def decode(data: bytes, where: str) -> NDArray[np.uint8]:
    """`[H, W, 4]`: an image of `FaceReader.encoded`, RGB and a fourth channel that means nothing.

    Raises:
        ShardError: If it is damaged.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if height * width > MAX_PIXELS:
            raise ShardError(f"{where}.jpg: an image has at most {MAX_PIXELS} pixels, got {width} x {height}")
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGBA")
    except ValueError as cause:
        raise ShardError(f"{where}.jpg: cannot be decoded ({cause}); shard the dataset again") from None
    return image
