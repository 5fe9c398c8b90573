"""Runs the benchmarks: prints a table and writes `bench.jsonl`, one object a line.

make bench            make bench ONLY=render
"""

import json
import platform
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import bench_render, bench_training

_BENCHMARKS = {
    "render": bench_render.run,
    "train_step": bench_training.run,
    "nuclear_norm": bench_training.run,
}


def main(only: str | None) -> None:
    """Run all, or the one of that name."""
    if only and only not in _BENCHMARKS:
        sys.exit(f"error: unknown benchmark {only!r}; available: {', '.join(_BENCHMARKS)}")
    chosen = [_BENCHMARKS[only]] if only else list(dict.fromkeys(_BENCHMARKS.values()))
    rows: list[dict[str, Any]] = [row for run in chosen for row in run() if only in (None, row["name"])]
    machine = f"{platform.machine()} {platform.processor() or platform.system()}"
    with Path("bench.jsonl").open("w") as file:
        file.writelines(json.dumps({**row, "machine": machine}, sort_keys=True) + "\n" for row in rows)
    table = Table("benchmark", "value", "unit", "more")
    for row in rows:
        extra = {name: value for name, value in row.items() if name not in ("name", "value", "unit")}
        more = ", ".join(v if isinstance(v, str) else f"{k} {v:.3g}" for k, v in extra.items())
        table.add_row(row["name"], f"{row['value']:.4g}", row["unit"], more)
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
