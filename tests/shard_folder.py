"""Shards in a plain folder, written by the manifest's contract, and loaders over them: for tests of the loader."""

import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import simplejpeg
import torch

from adodn import protocols
from adodn.config import DataConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import FaceRecord, ImagePolicy, Manifest, ShardEntry
from adodn.errors import StorageError
from adodn.samples import Batch

PROTOCOL = protocols.get("68")


@dataclass
class FolderStore:
    """A shard source over a folder; remembers what was asked for."""

    root: Path
    asked: list[str] = field(default_factory=list)

    def get(self, uri: str) -> bytes:
        self.asked.append(uri)
        path = self.root / uri.removeprefix("folder://toy/")
        if not path.is_file():
            raise StorageError(f"{uri}: no such object")
        return path.read_bytes()


def face_record(key: str, seed: int) -> FaceRecord:
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(20, 60, (68, 2))
    (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
    return FaceRecord(
        key=key,
        landmarks=tuple((x, y) for x, y in landmarks.tolist()),
        visible=tuple(rng.random(68).__gt__(0.2).tolist()),
        box=(x0, y0, x1, y1),
        stored_to_image=(float(rng.uniform(1, 3)), float(rng.integers(0, 99)), float(rng.integers(0, 99))),
        subsets=("full", "common" if seed % 2 else "challenging"),
    )


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def face_members(first: int, count: int) -> list[tuple[str, bytes]]:
    members = []
    for seed in range(first, first + count):
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        key = f"face-{seed:04d}"
        members += [
            (f"{key}.jpg", simplejpeg.encode_jpeg(pixels, quality=90)),
            (f"{key}.json", face_record(key, seed).to_json().encode()),
        ]
    return members


def write_shard(folder: Path, name: str, data: bytes, samples: int) -> ShardEntry:
    (folder / name).write_bytes(data)
    return ShardEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), samples=samples)


def write_dataset(folder: Path, sizes: tuple[int, ...], split: str = "train") -> Manifest:
    starts = np.cumsum((0, *sizes)).tolist()
    entries = tuple(
        write_shard(folder, f"{split}-{number:06d}.tar", tar_of(face_members(start, size)), size)
        for number, (start, size) in enumerate(zip(starts, sizes, strict=False))
    )
    return manifest_of(entries, split)


def manifest_of(entries: tuple[ShardEntry, ...], split: str = "train") -> Manifest:
    return Manifest(dataset="toy", version="v1", protocol="68", image_policy=ImagePolicy(), splits={split: entries})


def loader_of(folder: Path, manifest: Manifest, **changes: object) -> ShardLoader:
    arguments: dict[str, object] = {
        "manifest": manifest,
        "base_uri": "folder://toy",
        "source": FolderStore(folder),
        "cache": ShardCache(folder / "cache", max_bytes=10**9),
        "split": "train",
        "protocol": PROTOCOL,
        "data": DataConfig(),
        "input_px": 32,
        "global_batch": 4,
        "train": True,
    }
    return ShardLoader(**(arguments | changes))  # type: ignore[arg-type]


def same(a: Batch, b: Batch) -> bool:
    tensors = ("images", "landmarks", "visible", "crop_to_image", "image_landmarks", "image_boxes", "indices")
    return a.keys == b.keys and all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors)
