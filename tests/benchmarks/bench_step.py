"""Where the time of a training step goes, what our loop costs beside a bare one, and what two workers lose.

All of it is the package's own `train_epoch` and `train_step`, whose stages are named for `torch.profiler`.

import bench_step; bench_step.run_parts()
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from adodn import recipes
from adodn.config import ExperimentConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.train.peers import average_over_peers
from adodn.train.step import STAGES
from tests.benchmarks.face_folder import FaceFolder, in_shards
from tests.benchmarks.measure import Paired, Row, alternately, row, times_of
from tests.benchmarks.s3_server import s3_server
from tests.benchmarks.training_loop import Bare, InMemory, Ours, random_batches
from tests.processes import together

RECIPE, TOY = "adodn_300w_small", "adodn_rendered"
_NUCLEAR = ("_NuclearNorm", "_NuclearNormBackward")
_STEPS = {RECIPE: 2, TOY: 8}
"""Of an epoch that is timed; what an epoch costs beside its steps is thereby counted many times over."""


def run_parts(steps: int = 8) -> list[Row]:
    """The measurement `training_parts`: one thread computes, one prepares batches."""
    torch.set_num_threads(1)
    config = recipes.get(RECIPE)
    with from_shards(config, steps) as loader:
        epoch = Ours(config, loader)
        epoch()
        spent = min((profiled(epoch) for _ in range(3)), key=lambda found: found["step"])
    whole = spent["step"]
    return [
        row("training_parts", 1000 * seconds / steps, "ms", limit=1000 * whole / steps, variant=part)
        for part, seconds in spent.items()
    ]


def run_loop(repeats: int = 15) -> list[Row]:
    """The measurement `training_loop`: the share of a bare loop's speed that ours has."""
    torch.set_num_threads(1)
    return [*(_in_memory(recipes.get(name), repeats) for name in (RECIPE, TOY)), _out_of_shards(repeats)]


def _in_memory(config: ExperimentConfig, repeats: int) -> Row:
    batches = random_batches(config, _STEPS[config.name])
    pair = times_of(Ours(config, InMemory(batches)), Bare(config, batches), repeats)
    return _of_bare(pair, config, "faces/s/core", "batches in memory, core time")


def _out_of_shards(repeats: int) -> Row:
    """On the wall's clock: batches are prepared by a thread of their own, beside the bare loop's by none."""
    config = recipes.get(RECIPE)
    with from_shards(config, _STEPS[RECIPE]) as loader:
        pair = times_of(Ours(config, loader), Bare(config, random_batches(config, _STEPS[RECIPE])), repeats, wall=True)
    return _of_bare(pair, config, "faces/s", "batches from shards, wall time")


def _of_bare(pair: Paired, config: ExperimentConfig, unit: str, variant: str) -> Row:
    rate = _STEPS[config.name] * config.train.global_batch / pair.seconds
    return row(
        "training_loop",
        rate,
        unit,
        best_peer=rate / pair.times,
        peer="a bare torch loop, its batches in memory; median of pairs",
        quartiles_of_peer=pair.quartiles,
        variant=f"{config.name}, {variant}",
    )


def run_workers(rounds: int = 4, steps: int = 3) -> list[Row]:
    """The measurement `training_workers`: two processes of one thread beside one process of two, wall time."""
    with tempfile.TemporaryDirectory() as name:
        pairs = [(_two(Path(name) / str(number), steps), worker(steps, threads=2)) for number in range(rounds)]
    two, one = (min(side, key=lambda spent: spent["step"]) for side in zip(*pairs, strict=True))
    low, middle, high = statistics.quantiles([alone["step"] / both["step"] for both, alone in pairs], n=4)
    rate = recipes.get(RECIPE).train.global_batch / statistics.median(both["step"] for both, _ in pairs)
    whole = row(
        "training_workers",
        rate,
        "faces/s",
        best_peer=rate / middle,
        peer="one process with two threads; median of pairs, stages of the fastest",
        quartiles_of_peer=f"{low:.3f} … {high:.3f}",
        variant=f"{RECIPE}, two processes of one thread",
        mb_exchanged=two["bytes"] / 1e6,
        ms_of_exchange_by_itself=1000 * two["exchange"],
    )
    parts = [name for name in one if name not in ("bytes", "exchange")]
    return [
        whole,
        *(row("training_workers", 1000 * two[n], "ms", best_peer=1000 * one[n], variant=n) for n in parts),
    ]


def _two(folder: Path, steps: int) -> dict[str, float]:
    first, second = together(partial(worker, steps, threads=1), folder)
    return {name: (first[name] + second[name]) / 2 for name in first}


def worker(steps: int, *, threads: int) -> dict[str, float]:
    """Seconds of a step by stage, on this process's share of each batch, and of an exchange of gradients by itself."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # as in training
    config = recipes.get(RECIPE)
    Ours(config, InMemory(random_batches(config, 1)))()
    epoch = Ours(config, InMemory(random_batches(config, steps)))
    spent = {name: seconds / steps for name, seconds in profiled(epoch).items()}
    gradients = [parameter.grad for parameter in epoch.state.network.parameters() if parameter.grad is not None]
    (exchange,) = alternately(lambda: average_over_peers(gradients), repeats=5)
    return spent | {"bytes": 4.0 * sum(one.numel() for one in gradients), "exchange": exchange.wall_s}


def profiled(epoch: Callable[[], dict[str, float]]) -> dict[str, float]:
    """An epoch's seconds by stage, in the thread that trains; the whole first, and what is in no stage last."""
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        metrics = epoch()
        whole = time.perf_counter() - began
    by_name = {event.key: event.cpu_time_total / 1e6 for event in watched.key_averages()}
    spent = {"step": whole, "data wait": whole * metrics["train/data_wait_fraction"]}
    nuclear = {name: by_name.get(name, 0.0) for name in _NUCLEAR}
    spent |= {stage.removeprefix("adodn "): by_name[stage] for stage in STAGES}
    spent["losses"] -= nuclear["_NuclearNorm"]
    spent["backward"] -= nuclear["_NuclearNormBackward"]
    spent["nuclear norm, both ways"] = sum(nuclear.values())
    rest = whole - sum(seconds for name, seconds in spent.items() if name != "step")
    return spent | {"reporting, loader's state, all else": rest}


@contextmanager
def from_shards(
    config: ExperimentConfig, steps: int, *, threads: int = 1, pin_memory: bool = False
) -> Iterator[ShardLoader]:
    """The experiment's own loader, of an epoch of `steps`; the first epoch fetches the shards from a server here."""
    with tempfile.TemporaryDirectory() as name, s3_server(Path(name) / "server") as store:
        faces = FaceFolder(Path(name), faces=steps * config.train.global_batch)
        uri, manifest = in_shards(faces, store)
        yield ShardLoader(
            manifest=manifest,
            base_uri=uri,
            source=store,
            cache=ShardCache(Path(name) / "cache", max_bytes=10**9),
            split="train",
            protocol=faces.protocol,
            data=config.data,
            input_px=config.model.input_px,
            global_batch=config.train.global_batch,
            train=True,
            num_threads=threads,
            pin_memory=pin_memory,
        )
