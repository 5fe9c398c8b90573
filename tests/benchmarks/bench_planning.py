"""What a dataset's size costs before the first face is read: manifest, loader, and the plan of an epoch.

Shards of 100 faces, which exist in the manifest alone; nothing of them is fetched.

import bench_planning; bench_planning.run()
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil

from adodn import protocols, recipes
from adodn.data.faces import FaceReader
from adodn.data.manifest import ImagePolicy, Manifest, ShardEntry
from adodn.data.partition import EpochOrder, GlobalBatches
from tests.benchmarks.measure import Row, row

_SIZES = (1_000, 10_000, 100_000)
_FACES_PER_SHARD = 100
_BATCH = 32


def run() -> list[Row]:
    """The measurement `loader_planning`, in a process of its own for each size, since memory is never given back."""
    rows = []
    for shards in _SIZES:
        open_s, first_s, step_us, megabytes = _measured_apart(shards)
        variant = f"{shards * _FACES_PER_SHARD:.0e} faces in {shards:.0e} shards"
        more = {"first_batch_planned_after_s": first_s, "then_us_per_batch": step_us, "memory_mb": megabytes}
        rows.append(row("loader_planning", open_s, "s to open", variant=variant, **more))
    return rows


def _measured_apart(shards: int) -> list[float]:
    with NamedTemporaryFile("w", suffix=".json") as file:
        file.write(_manifest(shards).to_json())
        file.flush()
        command = [sys.executable, "-m", "tests.benchmarks.bench_planning", file.name]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures: list[float] = json.loads(answer)
    return figures


def _measure(path: Path) -> tuple[float, float, float, float]:
    """Seconds to open and to plan the first batch, microseconds for each further one, and MB of memory taken."""
    before, began = _memory_mb(), time.perf_counter()
    manifest = Manifest.from_json(path.read_bytes(), str(path))
    faces = FaceReader(manifest, base_uri="s3://b/d", split="train", protocol=protocols.get("68"), **_nowhere())
    opened = time.perf_counter()
    order = EpochOrder(faces.shard_faces, seed=recipes.adodn_300w().train.seed, epoch=0, train=True)
    batches = GlobalBatches(order, global_batch=_BATCH, train=True)
    batches[0].share(0, 2)
    planned = time.perf_counter()
    steps = min(len(batches), 5000)
    for step in range(1, steps):
        batches[step].share(0, 2)
    ended = time.perf_counter()
    return opened - began, planned - opened, 1e6 * (ended - planned) / (steps - 1), _memory_mb() - before


def _manifest(shards: int) -> Manifest:
    entries = tuple(
        ShardEntry(name=f"train-{number:06d}.tar", bytes=3_000_000, sha256=f"{number:064x}", samples=_FACES_PER_SHARD)
        for number in range(shards)
    )
    return Manifest(dataset="d", version="v", protocol="68", image_policy=ImagePolicy(), splits={"train": entries})


def _nowhere() -> dict[str, Any]:
    return {"source": None, "cache": None}


def _memory_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]))))
