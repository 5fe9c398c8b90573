"""Two toy datasets of different protocols in plain folders, and mixtures of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from adodn.config import DataConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import FaceRecord, Manifest
from adodn.data.mixture import MixtureLoader, part_seed
from adodn.protocols.mapping import ProtocolMap
from adodn.protocols.maps import get_map
from tests.shard_folder import FolderStore, face_members, manifest_of, tar_of, write_dataset, write_shard

Folder = tuple[Path, Manifest]


def write_mapped(
    folder: Path, sizes: tuple[int, ...], protocol: str, *, first: int = 500, split: str = "train"
) -> Manifest:
    """The toy faces from number `first` on, with the landmarks of another protocol."""
    to = get_map("68", protocol)
    entries, start = [], first
    for number, size in enumerate(sizes):
        members = [
            (name, _mapped(content, to) if name.endswith(".json") else content)
            for name, content in face_members(start, size)
        ]
        entries.append(write_shard(folder, f"{split}-{number:06d}.tar", tar_of(members), size))
        start += size
    return replace(manifest_of(tuple(entries), split), dataset="narrow", protocol=protocol)


def _mapped(content: bytes, to: ProtocolMap) -> bytes:
    record = FaceRecord.from_json(content, "toy")
    landmarks = to.apply(np.array(record.landmarks))
    visible = to.visible(np.array(record.visible))
    changed = replace(record, landmarks=tuple((x, y) for x, y in landmarks.tolist()), visible=tuple(visible.tolist()))
    return changed.to_json().encode()


def two_folders(wide: Path, narrow: Path) -> list[Folder]:
    """23 faces of 68 landmarks in three shards, 11 of 29 in two."""
    return [(wide, write_dataset(wide, (9, 4, 10))), (narrow, write_mapped(narrow, (6, 5), "29"))]


def parts_of(folders: list[Folder], seed: int = 0, input_px: int = 32) -> list[ShardLoader]:
    """Training loaders of the datasets."""
    return [
        ShardLoader(
            manifest=manifest,
            base_uri="folder://toy",
            source=FolderStore(folder),
            cache=ShardCache(folder / "cache", max_bytes=10**9),
            split="train",
            protocol=manifest.landmark_protocol,
            data=DataConfig(),
            input_px=input_px,
            global_batch=1,
            seed=part_seed(seed, number),
            train=True,
        )
        for number, (folder, manifest) in enumerate(folders)
    ]


def mixture_of_folders(
    folders: list[Folder], *, global_batch: int = 6, rank: int = 0, world_size: int = 1, seed: int = 0
) -> MixtureLoader:
    """The first dataset has branch 1, the second branch 0, as their protocols are sorted."""
    return MixtureLoader(
        parts_of(folders, seed),
        branches=[1, 0],
        global_batch=global_batch,
        rank=rank,
        world_size=world_size,
        seed=seed,
        num_threads=2,
    )
