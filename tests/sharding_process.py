"""Shards faces in a process of its own, which tests may kill or run beside others.

python -m tests.sharding_process '{"endpoint_url": …, "base_uri": …, "faces": 40, "image_bytes": 0, …}'
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr

from adodn import protocols
from adodn.data import images
from adodn.data.manifest import ImagePolicy
from adodn.data.plan import ShardPlan, plan
from adodn.data.shards import publish
from adodn.data.store import S3Store
from adodn.samples import FaceSample, SampleRef

_SIZE_PX = 64
_COMMENT = b"\xff\xfe"


@dataclass
class Made:
    """Faces that are made as they are read, each with other landmarks; nothing of them is kept."""

    faces: int
    seed: int = 0
    image_bytes: int = 0
    """Images are filled up to at least this size, by comments, which cost no time to decode."""
    pause_s: float = 0
    name: str = "made"
    problems: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.protocol = protocols.get("68")
        pixels = np.random.default_rng(0).integers(0, 256, (_SIZE_PX, _SIZE_PX, 3), dtype=np.uint8)
        self._jpeg = images.encode(pixels, quality=90)

    def index(self) -> Sequence[SampleRef]:
        return [
            SampleRef(key=f"k{i:06d}", locator=str(i), split="train" if i % 5 else "test") for i in range(self.faces)
        ]

    def read(self, ref: SampleRef) -> FaceSample:
        time.sleep(self.pause_s)
        landmarks = np.random.default_rng([self.seed, int(ref.locator)]).uniform(1, _SIZE_PX - 1, (68, 2))
        (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
        comments = (self.image_bytes // 60_002) * (_COMMENT + (60_000).to_bytes(2, "big") + bytes(59_998))
        image = self._jpeg[:2] + comments + self._jpeg[2:]
        return FaceSample(
            ref=ref, image=image, landmarks=landmarks, visible=np.ones(68, np.bool_), box=(x0, y0, x1, y1)
        )

    def __iter__(self) -> Any:
        return map(self.read, self.index())

    def __len__(self) -> int:
        return self.faces


def planned(dataset: Made, faces_per_shard: int = 4, threads: int = 2) -> ShardPlan:
    """The plan that every process makes of the faces."""
    return plan(dataset, ImagePolicy(), samples_per_shard=faces_per_shard, threads=threads)


def start(store: S3Store, base_uri: str, **options: Any) -> "subprocess.Popen[str]":
    """Begin to shard; at the end the process prints the manifest's address and its largest size in memory."""
    places = {"endpoint_url": store.endpoint_url, "access_key": store.access_key, "base_uri": base_uri}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sharding_process", json.dumps({**places, **options})],
        env={**os.environ, "SECRET_KEY": store.secret_key.get_secret_value()},
        stdout=subprocess.PIPE,
        text=True,
    )


def _main(options: dict[str, Any]) -> None:
    store = S3Store(
        endpoint_url=options.pop("endpoint_url"),
        access_key=options.pop("access_key"),
        secret_key=SecretStr(os.environ["SECRET_KEY"]),
    )
    base_uri, threads, size = options.pop("base_uri"), options.pop("threads", 2), options.pop("faces_per_shard", 4)
    dataset = Made(**options)
    shard_plan = planned(replace(dataset, pause_s=0), size, threads)
    uri, _ = publish(dataset, store, base_uri, shard_plan, threads=threads)
    json.dump({"uri": uri, "peak_kb": _peak_kb()}, sys.stdout)


def _peak_kb() -> int:
    """Most memory this program had; `ru_maxrss` would count what its parent had when it was forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
