"""Runs the benchmarks: prints a table and writes `bench.jsonl`, one object a line.

make bench            make bench ONLY=render
"""

import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    bench_backbones,
    bench_checkpoint,
    bench_geometry,
    bench_gpu,
    bench_loader,
    bench_occlusion,
    bench_planning,
    bench_predict,
    bench_render,
    bench_sampler,
    bench_search,
    bench_sharding,
    bench_step,
    bench_training,
)
from tests.benchmarks.measure import Row

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "render": bench_render.run,
    "sharding": bench_sharding.run,
    "loader_cold": bench_loader.run,
    "loader_warm": bench_loader.run,
    "loader_parts": bench_loader.run,
    "loader_planning": bench_planning.run,
    "occlusion": bench_occlusion.run,
    "search_sampler": bench_sampler.run,
    "train_step": bench_training.run,
    "nuclear_norm": bench_training.run,
    "checkpoint": bench_checkpoint.run,
    "training_parts": bench_step.run_parts,
    "training_loop": bench_step.run_loop,
    "training_workers": bench_step.run_workers,
    "training_gpu": bench_gpu.run,
    "geometry_outer": bench_geometry.run,
    "backbones": bench_backbones.run,
    "search_trial_overhead": bench_search.run,
    "predict_latency": bench_predict.run_latency,
    "predict_throughput": bench_predict.run_throughput,
}
_FIGURES = ("value", "limit", "ratio_to_limit", "best_peer", "ratio_to_best_peer")
_IN_TABLE = ("name", "variant", "unit", "machine", *_FIGURES)


def main(only: str | None) -> None:
    """Run all, or the one of that name."""
    if only and only not in BENCHMARKS:
        sys.exit(f"error: unknown benchmark {only!r}; available: {', '.join(BENCHMARKS)}")
    chosen = [BENCHMARKS[only]] if only else list(dict.fromkeys(BENCHMARKS.values()))
    rows = [row | {"machine": _machine()} for run in chosen for row in run() if only in (None, row["name"])]
    write(rows, Path("bench.jsonl"))
    _print(rows)


def write(rows: list[Row], path: Path) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def _machine() -> str:
    """Name and load: on a busy machine all figures are lower, ratios less so."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.system()
    return f"{platform.machine()}, {model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def _print(rows: list[Row]) -> None:
    console = Console()
    heads = ("benchmark", "variant", "unit", "value", "limit", "of limit", "peer", "of peer")
    table = Table(*heads, caption="of limit, of peer: value over that; for times less is better")
    for row in rows:
        table.add_row(
            row["name"],
            row.get("variant", ""),
            row["unit"],
            *(f"{row[name]:.4g}" if name in row else "" for name in _FIGURES),
        )
    console.print(table)
    for row in rows:
        rest = {name: value for name, value in row.items() if name not in _IN_TABLE}
        words = (f"{name} {value}" if isinstance(value, str) else f"{name} {value:.3g}" for name, value in rest.items())
        what = f"{row['name']} {row.get('variant', '')}".rstrip()
        console.print(f"{what}: {'; '.join(words)}", highlight=False, markup=False)
    console.print(_machine(), highlight=False)


if __name__ == "__main__":
    # The default action ends the process at once and would leave the S3 server running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main(sys.argv[1] if len(sys.argv) > 1 else None)
