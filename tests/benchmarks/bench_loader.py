"""Faces a second from shards to batches at 224 px, augmented, by one thread: with an empty cache, and with a full one.

The empty cache is filled from a real S3 server on this machine, so that epoch is timed by the clock on the wall; the
others by core time. Files and objects lie in the system's page cache.

import bench_loader; bench_loader.run()
"""

import json
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch
import webdataset
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from adodn import recipes
from adodn.data import transforms
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import ImagePolicy
from adodn.data.plan import plan
from adodn.data.shards import publish_manifest, publish_shard, version_uri
from adodn.data.store import S3Store
from tests.benchmarks.face_folder import SIZE_PX, FaceFolder
from tests.benchmarks.measure import Row, Spent, alternately, row
from tests.benchmarks.s3_server import s3_server

_FACES = 128
_FACES_PER_SHARD = 32
_BATCH = 32
_INPUT_PX = 224
_DATA = recipes.adodn_300w_small().data


def run() -> list[Row]:
    """The measurements `loader_cold` and `loader_warm`."""
    torch.set_num_threads(1)  # threads that wait for work in the stock collation would count as its core time
    with TemporaryDirectory() as name, s3_server(Path(name) / "server") as store:
        epochs = _Epochs(store, Path(name))
        calls = (epochs.cold, epochs.stock_cold, epochs.warm, epochs.stock_warm, epochs.decode)
        return _rows(*alternately(*calls, repeats=3))


def _rows(cold: Spent, stock_cold: Spent, warm: Spent, stock_warm: Spent, decode: Spent) -> list[Row]:
    variant, limit_is = f"{SIZE_PX} px to {_INPUT_PX} px", "JPEG decoding alone"
    return [
        row(
            "loader_cold",
            _FACES / cold.wall_s,
            "faces/s",
            limit=_FACES / decode.wall_s,
            best_peer=_FACES / stock_cold.wall_s,
            limit_is=limit_is,
            peer="boto3 to files, then the peer of loader_warm",
            variant=variant,
        ),
        row(
            "loader_warm",
            _FACES / warm.cpu_s,
            "faces/s/core",
            limit=_FACES / decode.cpu_s,
            best_peer=_FACES / stock_warm.cpu_s,
            limit_is=limit_is,
            peer="stock webdataset and DataLoader, cv2 decoding, our crop and colours",
            variant=variant,
        ),
    ]


class _Epochs:
    """One epoch over the same shards in each of several ways."""

    def __init__(self, store: S3Store, folder: Path) -> None:
        self._dataset, self._store, self._folder = FaceFolder(folder, faces=_FACES), store, folder
        self._jpegs = [face.image for face in self._dataset]
        policy = ImagePolicy()
        planned = plan(self._dataset, policy, samples_per_shard=_FACES_PER_SHARD, val_fraction=0)
        self._uri = version_uri("s3://adodn/datasets", planned)
        entries = {
            shard.name: publish_shard(self._dataset, store, self._uri, shard, policy) for shard in planned.shards
        }
        _, self._manifest = publish_manifest(store, self._uri, planned, entries)
        self._fresh = (folder / f"cold-{number}" for number in count())
        self._loader = self._with_cache(folder / "warm")
        self._files = self._downloaded(folder / "stock")

    def cold(self) -> None:
        _exhaust(self._with_cache(next(self._fresh)))

    def stock_cold(self) -> None:
        _exhaust(_stock(self._downloaded(next(self._fresh))))

    def warm(self) -> None:
        _exhaust(self._loader)

    def stock_warm(self) -> None:
        _exhaust(_stock(self._files))

    def decode(self) -> None:
        for jpeg in self._jpegs:
            simplejpeg.decode_jpeg(jpeg)

    def _with_cache(self, folder: Path) -> ShardLoader:
        return ShardLoader(
            manifest=self._manifest,
            base_uri=self._uri,
            source=self._store,
            cache=ShardCache(folder, max_bytes=10**9),
            split="train",
            protocol=self._dataset.protocol,
            data=_DATA,
            input_px=_INPUT_PX,
            global_batch=_BATCH,
            train=True,
        )

    def _downloaded(self, folder: Path) -> list[str]:
        folder.mkdir()
        names = [entry.name for entry in self._manifest.splits["train"]]
        for name in names:
            self._store.download(f"{self._uri}/{name}", folder / name)
        return [str(folder / name) for name in names]


def _exhaust(epoch: Any) -> None:
    batches = sum(1 for _ in epoch)
    assert batches == _FACES // _BATCH, "every way must make the same batches"


def _stock(files: list[str]) -> Any:
    dataset = webdataset.WebDataset(files, shardshuffle=False).shuffle(_FACES_PER_SHARD).map(_prepared)
    return DataLoader(dataset, batch_size=_BATCH)


def _prepared(sample: dict[str, bytes]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    image: Any = cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR_RGB)
    record = json.loads(sample["json"])
    chosen = transforms.draw_augmentation(_DATA.augment, np.random.random(transforms.NUM_DRAWS).tolist())
    affine = transforms.crop_affine(record["box"], crop_scale=_DATA.crop_scale, augmentation=chosen)
    crop = np.empty((_INPUT_PX, _INPUT_PX, 3), np.uint8)
    transforms.warp(image, affine, crop)
    transforms.adjust_colours(crop, chosen)
    return crop, transforms.move(np.array(record["landmarks"]), transforms.invert(affine))
