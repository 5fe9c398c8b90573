"""The whole chain on rendered faces, through the real deployment: stack, shards, training, evaluation, registry.

result = demo(progress=print)
"""

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from adodn import publish, settings
from adodn.data.store import S3Store
from infra import deployments, processes, stack

_FACES = {"num_train": 768, "num_val": 64, "num_common": 128, "num_challenging": 128, "size_px": 112}
_SAMPLE_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """What the demo did, and what it took."""

    report: dict[str, Any]
    """Figures, the registered model, and whether it is champion."""
    pictures: tuple[Path, ...]
    seconds: float
    peak_memory_mb: float
    """Of stack, flow and training together; shared pages counted once."""
    links: dict[str, str]


def demo(*, progress: Callable[[str], None]) -> DemoResult:
    """Bring the stack up, deploy, and run `train-adodn` with two workers on rendered faces.

    Raises:
        StackError: If the stack does not start, or the flow run does not complete.
    """
    began = time.monotonic()
    with _MemoryWatch(settings.home()) as memory:
        info = stack.up(progress=progress)
        settings.get.cache_clear()
        deployments.deploy()
        progress("deployed train-adodn and shard-dataset")
        run_name = f"demo-{secrets.token_hex(4)}"
        parameters = {"recipe": "adodn_rendered", "dataset": "synthetic", "options": _FACES, "run_name": run_name}
        deployments.run("train-adodn/train-adodn", parameters, on_log=progress)
    report, pictures = _fetch(run_name)
    links = {"Prefect": info.prefect_url, "MLflow": info.mlflow_url, "Ray": info.ray_url}
    return DemoResult(
        report=report,
        pictures=pictures,
        seconds=time.monotonic() - began,
        peak_memory_mb=memory.peak_mb,
        links=links,
    )


def _fetch(run_name: str) -> tuple[dict[str, Any], tuple[Path, ...]]:
    places = settings.get()
    store, folder = S3Store.from_settings(places), settings.home() / "demo" / run_name
    folder.mkdir(parents=True, exist_ok=True)
    for name in publish.PICTURES:
        (folder / name).write_bytes(store.get(publish.evaluation_uri(run_name, name, places)))
    report = json.loads(store.get(publish.evaluation_uri(run_name, publish.REPORT, places)))
    return report, tuple(folder / name for name in publish.PICTURES)


class _MemoryWatch:
    """Samples the memory of a stack's processes while it is open."""

    def __init__(self, home: Path) -> None:
        self.peak_mb = 0.0
        self._home = home
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self.peak_mb = max(self.peak_mb, sum(map(_pss_mb, processes.marked(self._home))))


def _pss_mb(process: psutil.Process) -> float:
    """Memory of a process, each shared page split among those that share it."""
    try:
        return float(process.memory_full_info().pss) / 1e6
    except (psutil.Error, OSError, AttributeError):  # ended meanwhile; no PSS but on Linux
        return 0.0
