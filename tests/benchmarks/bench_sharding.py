"""How many faces a second go from a folder into shards on S3, beside a bare copy of the same files to the same server.

import bench_sharding; bench_sharding.run()
"""

import hashlib
import io
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import webdataset
from botocore.config import Config

from adodn.data.manifest import ImagePolicy
from adodn.data.plan import ShardPlan, plan
from adodn.data.shards import build_shard, publish
from adodn.data.store import S3Store
from adodn.samples import Dataset
from tests.benchmarks.face_folder import SIZE_PX, FaceFolder
from tests.benchmarks.measure import Row, alternately, row
from tests.benchmarks.s3_server import s3_server

_THREADS = 4
_FACES_PER_SHARD = 256


def run(faces: int = 1024, repeats: int = 3) -> list[Row]:
    """The measurement `sharding`, on JPEGs whose bytes are handed on as they are.

    Planning reads and checks every face, building reads it again: all of that is in the figure.
    """
    with TemporaryDirectory() as folder, TemporaryDirectory() as home, s3_server(Path(home)) as store:
        dataset = FaceFolder(Path(folder), faces=faces)
        store.ensure_bucket("bench")
        work = _Work(dataset, store)
        ours, shards, copied, hashed, written = alternately(
            work.shard, work.put_shards, work.copy, work.read_and_hash, work.write_stock, repeats=repeats
        )
    return [
        row(
            "sharding",
            faces / ours.wall_s,
            "faces/s",
            limit=faces / shards.wall_s,
            best_peer=faces / copied.wall_s,
            limit_is=f"the finished shards put into the same S3 server, {_THREADS} threads",
            peer=f"boto3, each file read and put as an object into the same S3 server, {_THREADS} threads",
            variant=f"{faces} JPEGs of {SIZE_PX} px in a folder, {_THREADS} threads, wall time",
            faces_per_second_of_own_core_time=faces / ours.cpu_s,
            core_time_of_the_bare_copy_over_ours=copied.cpu_s / ours.cpu_s,
            core_time_of_reading_and_hashing_each_file_over_ours=hashed.cpu_s / ours.cpu_s,
            core_time_of_webdataset_TarWriter_without_checks_or_upload_over_ours=written.cpu_s / ours.cpu_s,
        )
    ]


class _Work:
    """What is measured; each call writes to a place of its own."""

    def __init__(self, dataset: FaceFolder, store: S3Store) -> None:
        self._dataset: Dataset = dataset
        self._store = store
        self._files = [Path(ref.locator) for ref in dataset.index()]
        self._numbers = itertools.count()
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=store.endpoint_url,
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key.get_secret_value(),
            region_name=store.region,
            config=Config(max_pool_connections=_THREADS, s3={"addressing_style": "path"}),
        )
        planned = self._plan()
        self._tars = [build_shard(dataset, shard, planned.policy) for shard in planned.shards]

    def shard(self) -> None:
        publish(self._dataset, self._store, f"s3://bench/{next(self._numbers)}", self._plan(), threads=_THREADS)

    def put_shards(self) -> None:
        self._put_all(lambda tar: tar, self._tars)

    def copy(self) -> None:
        self._put_all(Path.read_bytes, self._files)

    def read_and_hash(self) -> None:
        for path in self._files:
            hashlib.sha256(path.read_bytes()).digest()

    def write_stock(self) -> None:
        with webdataset.TarWriter(io.BytesIO()) as tar:
            for face in self._dataset:
                record = {
                    "key": face.ref.key,
                    "landmarks": face.landmarks.tolist(),
                    "visible": face.visible.tolist(),
                    "box": face.box,
                    "attributes": face.attributes,
                }
                tar.write({"__key__": face.ref.key, "jpg": face.image, "json": record})

    def _plan(self) -> ShardPlan:
        policy = ImagePolicy()
        return plan(self._dataset, policy, samples_per_shard=_FACES_PER_SHARD, val_fraction=0, threads=_THREADS)

    def _put_all(self, read: Callable[..., bytes], sources: Iterable[object]) -> None:
        place = f"copy-{next(self._numbers)}"

        def put(numbered: tuple[int, object]) -> None:
            number, source = numbered
            self._client.put_object(Bucket="bench", Key=f"{place}/{number:06d}", Body=read(source))

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(put, enumerate(sources)))
