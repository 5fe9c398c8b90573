"""What a training comes to on a GPU: faces a second, share of its arithmetic, and how long it waits for the loader.

import bench_gpu; bench_gpu.run()

Without a GPU it says so and measures nothing.
"""

import os
import sys
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from adodn import recipes
from adodn.config import ExperimentConfig
from adodn.samples import Batch
from tests.benchmarks.bench_step import RECIPE, from_shards
from tests.benchmarks.measure import Row, row, times_of
from tests.benchmarks.training_loop import Bare, InMemory, Ours, random_batches

_STEPS = 20
_REPEATS = 7
_SIDE = 8192
"""Of the matrices whose product says what the GPU can do."""


def run() -> list[Row]:
    """The measurement `training_gpu`: in bf16, at the recipe's batch and at one that fills a GPU better."""
    if not torch.cuda.is_available():
        sys.stderr.write("training_gpu: not run here: no CUDA device\n")
        return []
    peak, rows = _flops_per_s(), []
    for faces in (32, 256):
        config = recipes.get(RECIPE).with_fields({"train.global_batch": faces})
        batches = [batch.pin_memory() for batch in random_batches(config, _STEPS)]
        flops = _flops_per_face(config, batches[0])
        rows += [_in_memory(config, batches, flops / peak, compiled=compiled) for compiled in (False, True)]
        rows.append(_shards(config))
    return rows


def _in_memory(config: ExperimentConfig, batches: list[Batch], peak_s_per_face: float, *, compiled: bool) -> Row:
    ours, bare = Ours(config, InMemory(batches), torch.device("cuda")), _bare(config, batches)
    if compiled:
        ours.state.model.compile(mode="reduce-overhead")
    pair = times_of(ours, bare, _REPEATS, wall=True)
    rate = _STEPS * config.train.global_batch / pair.seconds
    what = "CUDA graphs by torch.compile" if compiled else "as it is"
    return row(
        "training_gpu",
        rate,
        "faces/s",
        limit=1 / peak_s_per_face,
        limit_is="its operations at the speed of a large bf16 product; of it: MFU",
        best_peer=rate / pair.times,
        peer="a bare torch loop, not compiled, its batches on the GPU",
        quartiles_of_peer=pair.quartiles,
        variant=f"{config.train.global_batch} faces a step, in memory, {what}",
        device=torch.cuda.get_device_name(),
    )


def _shards(config: ExperimentConfig) -> Row:
    """All cores but one prepare batches."""
    threads = max(1, (os.cpu_count() or 1) - 1)
    with from_shards(config, _STEPS, threads=threads, pin_memory=True) as loader:
        epoch = Ours(config, loader, torch.device("cuda"))
        epoch()  # fetches the shards
        metrics = min((epoch() for _ in range(_REPEATS)), key=lambda told: told["train/data_wait_fraction"])
    return row(
        "training_gpu",
        metrics["train/faces_per_second"],
        "faces/s",
        variant=f"{config.train.global_batch} faces a step, from shards, {threads} loader threads",
        data_wait_share=metrics["train/data_wait_fraction"],
    )


def _bare(config: ExperimentConfig, batches: list[Batch]) -> Callable[[], None]:
    epoch = Bare(config, batches, torch.device("cuda"))

    def waited_for() -> None:
        epoch()
        torch.cuda.synchronize()

    return waited_for


def _flops_per_face(config: ExperimentConfig, batch: Batch) -> float:
    step = Bare(config, [batch], torch.device("cuda"))
    with FlopCounterMode(display=False) as counter:
        step()
    total: int = counter.get_total_flops()
    return total / len(batch)


def _flops_per_s() -> float:
    a, b = (torch.rand(_SIDE, _SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        for _ in range(10):
            torch.mm(a, b)
        torch.cuda.synchronize()

    operations: int = 10 * 2 * _SIDE**3
    return operations / times_of(multiply, multiply, _REPEATS, wall=True).seconds
