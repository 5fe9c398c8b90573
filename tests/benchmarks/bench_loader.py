"""Faces a second from encoded faces to float batches at 224 px, augmented, by one thread: ours, and other ways.

`loader_warm` has all shards on this machine and is timed by core time; `loader_cold` begins with an empty cache that is
filled from a real S3 server on this machine, and is timed by the clock on the wall. Files and objects lie in the
system's page cache.

import bench_loader; bench_loader.run()
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.store import S3Store
from tests.benchmarks.face_folder import SIZE_PX, FaceFolder, in_shards
from tests.benchmarks.loader_peers import (
    BATCH,
    DATA,
    INPUT_PX,
    Epoch,
    augmented,
    limit,
    parts,
    peers,
    to_floats,
    with_pillow,
    with_turbojpeg,
)
from tests.benchmarks.measure import Row, Spent, alternately, row, times_of
from tests.benchmarks.s3_server import s3_server

_FACES = 256


def run() -> list[Row]:
    """The measurements `loader_cold`, `loader_warm` and `loader_parts`."""
    torch.set_num_threads(1)  # threads that wait for work in the stock collation would count as its core time
    with TemporaryDirectory() as name, s3_server(Path(name) / "server") as store:
        epochs = _Epochs(store, Path(name))
        return [*_warm(epochs), *_parts(epochs), _cold(epochs)]


def _warm(epochs: "_Epochs") -> list[Row]:
    """Ours against the limit, and against each peer with its own decoder and with ours."""
    calls = {"ours": epochs.warm} | {
        name: lambda epoch=epoch: _exhaust(epoch()) for name, epoch in epochs.peers.items()
    }
    spent = dict(zip(calls, alternately(*calls.values(), repeats=9), strict=True))
    rates = {name: _FACES / one.cpu_s for name, one in spent.items()}
    best = max(epochs.peers, key=rates.__getitem__)
    bare = times_of(epochs.warm, epochs.limit)
    coloured = times_of(epochs.warm, epochs.limit_with_colours)
    ours = row(
        "loader_warm",
        rates["ours"],
        "faces/s/core",
        limit=rates["ours"] / bare.times,
        best_peer=rates[best],
        limit_is="decode, one warp and floats in a bare loop; no colours, no landmarks; median of 25 pairs",
        quartiles_of_limit=bare.quartiles,
        of_limit_with_colours=coloured.times,
        quartiles_of_limit_with_colours=coloured.quartiles,
        peer=best,
        variant=epochs.variant,
    )
    return [ours, *(row("loader_warm", rates[name], "faces/s/core", variant=name) for name in epochs.peers)]


def _parts(epochs: "_Epochs") -> list[Row]:
    """Where the time goes: the parts of a face's way one by one, and what is left of ours without them."""
    spent = alternately(epochs.warm, *epochs.parts.values(), repeats=9)
    whole, *parts = (1e6 * one.cpu_s / _FACES for one in spent)
    named = dict(zip(epochs.parts, parts, strict=True)) | {"all else: annotations, order, batches": whole - sum(parts)}
    return [row("loader_parts", value, "us/face", limit=whole, variant=part) for part, value in named.items()]


def _cold(epochs: "_Epochs") -> Row:
    ours, copied, warm = alternately(epochs.cold, epochs.copy, epochs.warm, repeats=3)
    return row(
        "loader_cold",
        _FACES / ours.wall_s,
        "faces/s",
        limit=_FACES / _together(copied, warm),
        limit_is="a bare download of the shards, then a warm epoch",
        bare_download_mb_s=epochs.megabytes / copied.wall_s,
        variant=epochs.variant,
    )


def _together(*spent: Spent) -> float:
    return sum(one.wall_s for one in spent)


class _Epochs:
    """One epoch over the same faces in each of several ways."""

    def __init__(self, store: S3Store, folder: Path) -> None:
        self._dataset, self._store = FaceFolder(folder, faces=_FACES), store
        self._uri, self._manifest = in_shards(self._dataset, store)
        self.megabytes = sum(entry.bytes for entry in self._manifest.splits["train"]) / 1e6
        self.variant = f"{self._dataset.pictures_are}, {SIZE_PX} px to {INPUT_PX} px"
        self._fresh = (folder / f"cold-{number}" for number in count())
        # Batches that are made beside the one in use would slow down both where two cores share one's arithmetic.
        self._loader = self._with_cache(folder / "warm", prefetch=0)
        self._faces = self._stored(folder / "warm")
        self._affines = augmented(self._faces)
        self.parts = parts(self._faces, self._affines)
        tars = self._downloaded(folder / "tars")
        self.peers: dict[str, Epoch] = {
            f"{name}, {decoder}": epoch
            for decoder, decode in (("Pillow", with_pillow), ("TurboJPEG as ours", with_turbojpeg))
            for name, epoch in peers(folder / decoder[:5], self._faces, tars, decode).items()
        }

    def cold(self) -> None:
        _exhaust(_floats(self._with_cache(next(self._fresh))))

    def warm(self) -> None:
        _exhaust(_floats(self._loader))

    def limit(self) -> None:
        _exhaust(limit(self._faces, self._affines, colours=False))

    def limit_with_colours(self) -> None:
        _exhaust(limit(self._faces, self._affines, colours=True))

    def copy(self) -> None:
        self._downloaded(next(self._fresh))

    def _with_cache(self, folder: Path, *, prefetch: int = 2) -> ShardLoader:
        return ShardLoader(
            manifest=self._manifest,
            base_uri=self._uri,
            source=self._store,
            cache=ShardCache(folder, max_bytes=10**9),
            split="train",
            protocol=self._dataset.protocol,
            data=DATA,
            input_px=INPUT_PX,
            global_batch=BATCH,
            train=True,
            prefetch=prefetch,
        )

    def _downloaded(self, folder: Path) -> list[Path]:
        folder.mkdir()
        paths = [folder / entry.name for entry in self._manifest.splits["train"]]
        for path in paths:
            self._store.download(f"{self._uri}/{path.name}", path)
        return paths

    def _stored(self, folder: Path) -> Sequence[tuple[bytes, bytes]]:
        """JPEG and JSON of every face, as the shards hold them."""
        cache = ShardCache(folder, max_bytes=10**9)
        shards = [
            cache.open(entry, uri=f"{self._uri}/{entry.name}", source=self._store)
            for entry in self._manifest.splits["train"]
        ]
        return [(shard.image(i), shard.record(i)) for shard in shards for i in range(len(shard.faces))]


def _floats(loader: ShardLoader) -> Any:
    """As the network takes them."""
    return (to_floats(batch.images) for batch in loader)


def _exhaust(epoch: Any) -> None:
    batches = sum(1 for _ in epoch)
    assert batches == _FACES // BATCH, "every way must make the same batches"
