"""The loader end to end, over shards in a plain folder that this file writes by the manifest's contract."""

import hashlib
import io
import tarfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

from adodn import protocols
from adodn.config import AugmentConfig, DataConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import FaceRecord, ImagePolicy, Manifest, ShardEntry
from adodn.errors import CheckpointError, ConfigError, ShardError, StorageError
from adodn.samples import Batch

PROTOCOL = protocols.get("68")
STILL = AugmentConfig(
    rotation_deg=0, scale=0, translation=0, flip_probability=0, brightness=0, contrast=0, saturation=0
)


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return write_dataset(folder, (5, 1, 7))


def test_a_batch_has_the_shapes_and_types_it_promises(folder: Path, manifest: Manifest) -> None:
    """Every tensor of a batch has the shape and type of its documentation, images laid out channels-last."""
    batch = next(iter(loader_of(folder, manifest)))
    assert {
        name: (tuple(t.shape), t.dtype)
        for name in Batch.__slots__
        if isinstance(t := getattr(batch, name), torch.Tensor)
    } == {
        "images": ((4, 3, 32, 32), torch.uint8),
        "landmarks": ((4, 68, 2), torch.float32),
        "visible": ((4, 68), torch.bool),
        "crop_to_image": ((4, 2, 3), torch.float64),
        "image_landmarks": ((4, 68, 2), torch.float64),
        "image_boxes": ((4, 4), torch.float64),
        "indices": ((4,), torch.int64),
        "is_padding": ((4,), torch.bool),
        "positions": ((4,), torch.int64),
    }
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_is_the_manifest_in_order(folder: Path, manifest: Manifest) -> None:
    """Evaluation yields every face once, in the manifest's order, and marks those that fill the last batch."""
    batches = list(loader_of(folder, manifest, train=False))
    real = [key for batch in batches for key, pad in zip(batch.keys, batch.is_padding.tolist(), strict=True) if not pad]
    assert real == [f"face-{number:04d}" for number in range(13)]
    assert torch.cat([batch.is_padding for batch in batches]).sum() == 3


def test_annotations_come_back_through_the_crop(folder: Path, manifest: Manifest) -> None:
    """`crop_to_image` takes augmented landmarks back to the annotation, to float32 precision."""
    for batch in loader_of(folder, manifest):
        for row, key in enumerate(batch.keys):
            record = face_record(key, int(key[-4:]))
            scale, x, y = record.stored_to_image
            expected = scale * (np.array(record.landmarks) + 0.5) + (x, y) - 0.5
            np.testing.assert_allclose(batch.image_landmarks[row].numpy(), expected, rtol=1e-12)
            map_ = batch.crop_to_image[row].numpy()
            back = batch.landmarks[row].double().numpy() @ map_[:, :2].T + map_[:, 2]
            back_again = (
                back
                if abs(np.linalg.det(map_[:, :2])) and np.linalg.det(map_[:, :2]) > 0
                else back[list(PROTOCOL.flip)]
            )
            np.testing.assert_allclose(back_again, expected, rtol=1e-6)


@pytest.mark.parametrize("stop", range(4))
def test_a_resumed_loader_yields_what_was_left(folder: Path, manifest: Manifest, stop: int) -> None:
    """A loader given the state of another, on its own cache, yields exactly the batches that the other had left."""
    whole = list(loader_of(folder, manifest))
    first = loader_of(folder, manifest)
    seen = []
    for batch in first:
        if len(seen) == stop:
            break
        seen.append(batch)
        state = first.state_dict()
    if stop == 0:
        state = loader_of(folder, manifest).state_dict()
    second = loader_of(folder, manifest)
    second.load_state_dict(state)
    rest = list(second)
    assert state["step"] == stop
    assert len(seen) + len(rest) == len(whole) == len(first)
    assert all(same(a, b) for a, b in zip(seen + rest, whole, strict=True))
    assert second.state_dict() | {"seed": 0} == state | {"epoch": 1, "step": 0}


def test_closing_early_leaves_no_thread(folder: Path, manifest: Manifest) -> None:
    """After an epoch is left early, none of the loader's threads is alive."""
    batches = iter(loader_of(folder, manifest, num_threads=3))
    next(batches)
    assert any(thread.name.startswith("adodn-") for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("adodn-")]
