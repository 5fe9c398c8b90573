"""How many faces one core plans and puts into shards in a second of its own time; uploading is left out.

import bench_sharding; bench_sharding.run()
"""

import hashlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import webdataset

from adodn.data import images
from adodn.data.manifest import ImagePolicy
from adodn.data.plan import plan
from adodn.data.shards import build_shard
from adodn.samples import Dataset
from tests.benchmarks.face_folder import SIZE_PX, FaceFolder
from tests.benchmarks.measure import Row, alternately, row


def run(faces: int = 256, repeats: int = 5) -> list[Row]:
    """The measurement `sharding`, on JPEGs whose bytes are handed on as they are."""
    with TemporaryDirectory() as folder:
        dataset = FaceFolder(Path(folder), faces=faces)
        ours, hashed, checked, written = alternately(
            lambda: _shard(dataset),
            lambda: [hashlib.sha256(Path(ref.locator).read_bytes()).digest() for ref in dataset.index()],
            lambda: [images.is_sound_jpeg(Path(ref.locator).read_bytes()) for ref in dataset.index()],
            lambda: _write_stock(dataset),
            repeats=repeats,
        )
    return [
        row(
            "sharding",
            faces / ours.cpu_s,
            "faces/s/core",
            limit=faces / hashed.cpu_s,
            best_peer=faces / written.cpu_s,
            limit_is="each file read and hashed once",
            peer="webdataset.TarWriter, which checks and hashes nothing",
            variant=f"{SIZE_PX} px",
            share_of_decoding_to_check=checked.cpu_s / ours.cpu_s,
        )
    ]


def _shard(dataset: Dataset) -> None:
    policy = ImagePolicy()
    for shard in plan(dataset, policy, val_fraction=0).shards:
        hashlib.sha256(build_shard(dataset, shard, policy))


def _write_stock(dataset: Dataset) -> None:
    with webdataset.TarWriter(io.BytesIO()) as tar:
        for face in dataset:
            record = {
                "key": face.ref.key,
                "landmarks": face.landmarks.tolist(),
                "visible": face.visible.tolist(),
                "box": face.box,
                "attributes": face.attributes,
            }
            tar.write({"__key__": face.ref.key, "jpg": face.image, "json": record})
