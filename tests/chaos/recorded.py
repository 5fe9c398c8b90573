"""`adodn train`, whose workers also write down where they are and which faces they see, in which order.

python -m tests.chaos.recorded FOLDER PLACEMENT train --recipe adodn_smoke …

A line of JSON for each batch of each worker; `PLACEMENT` is Ray's strategy, e.g. STRICT_SPREAD: each on a node of its
own.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.util

from adodn import cli
from adodn.samples import Batch
from adodn.train import distributed, process, worker
from adodn.train.peers import rank, world_size


class RecordedLoader:
    """A loader that writes down what it hands out.

    Args:
        loader: Of training faces.
        file: Gets a line for each batch.
    """

    def __init__(self, loader: Any, file: Path) -> None:
        self._loader, self._file = loader, file

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            state = self._loader.state_dict()
            line = {
                "pid": os.getpid(),
                "node": ray.util.get_node_ip_address(),
                "rank": rank(),
                "workers": world_size(),
                "epoch": state["epoch"],
                "step": state["step"],
                "positions": batch.positions.tolist(),
                "keys": batch.keys,
            }
            with self._file.open("a") as file:
                file.write(json.dumps(line) + "\n")
            yield batch


def recorded(run: Callable[[dict[str, Any]], None], folder: Path) -> Callable[[dict[str, Any]], None]:
    """A worker's function that writes down its batches."""

    def run_recorded(given: dict[str, Any]) -> None:
        open_loaders = process.open_loaders  # type: ignore[attr-defined]

        def open_recorded(*args: Any) -> Any:
            train, val = open_loaders(*args)
            return RecordedLoader(train, folder / f"{os.getpid()}.jsonl"), val

        process.open_loaders = open_recorded  # type: ignore[assignment, attr-defined]
        run(given)

    return run_recorded


def main() -> None:
    """Train with workers that write things down, placed as asked."""
    folder, placement, *sys.argv[1:] = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    worker.run = recorded(worker.run, Path(folder))  # type: ignore[assignment]
    scaling = distributed._scaling
    distributed._scaling = lambda *asked: replace(scaling(*asked), placement_strategy=placement)
    cli.main()


if __name__ == "__main__":
    main()
