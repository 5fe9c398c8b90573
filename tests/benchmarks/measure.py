"""How long calls take, side by side, and what becomes of that: one row of the table.

    ours, peer = alternately(ours, peer)
    row("sharding", faces / ours.cpu_s, "faces/s/core", best_peer=faces / peer.cpu_s, peer="webdataset.TarWriter")

Core time is this process's own, over all its threads: what other work on the machine does counts least. Wall time is
for what waits for another process.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one call takes."""

    cpu_s: float
    wall_s: float


def alternately(*calls: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> list[Spent]:
    """Time calls in turn, round after round, so that a slow moment of the machine hits all of them alike.

    Of each call, the least time of all rounds: nothing makes a round faster than the machine is, other work makes it
    slower.

    Args:
        calls: What to time.
        repeats: Rounds that count.
        warm_up: Rounds before, that do not.
    """
    rounds = [[_time(call) for call in calls] for _ in range(warm_up + repeats)][warm_up:]
    return [
        Spent(min(spent.cpu_s for spent in column), min(spent.wall_s for spent in column))
        for column in zip(*rounds, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Paired:
    """A call beside another, over rounds by turns."""

    times: float
    """How many times the time of the call the other takes, the median over rounds."""
    low: float
    high: float
    """Quartiles of it."""
    seconds: float
    """What the call takes, the median over rounds."""

    @property
    def quartiles(self) -> str:
        """For the table."""
        return f"{self.low:.3f} … {self.high:.3f}"


def times_of(
    call: Callable[[], object], other: Callable[[], object], repeats: int = 25, *, wall: bool = False
) -> Paired:
    """Compare calls whose times are near each other; the least times, of different rounds, are too uneven for that.

    Args:
        call: What to time.
        other: What to time beside it.
        repeats: Rounds that count, after one of warming up.
        wall: By the clock on the wall, not by core time.
    """

    def seconds(spent: Spent) -> float:
        return spent.wall_s if wall else spent.cpu_s

    rounds = [(seconds(_time(call)), seconds(_time(other))) for _ in range(repeats + 1)][1:]
    low, middle, high = statistics.quantiles([theirs / ours for ours, theirs in rounds], n=4)
    return Paired(middle, low, high, statistics.median(ours for ours, _ in rounds))


def row(
    name: str,
    value: float,
    unit: str,
    *,
    limit: float | None = None,
    best_peer: float | None = None,
    **more: str | float,
) -> Row:
    """A line of `bench.jsonl`.

    Args:
        name: Of the benchmark.
        value: What was measured.
        unit: Of `value`, `limit` and `best_peer`.
        limit: What the machine allows; no program does better.
        best_peer: What a stock tool reaches at the same work.
        more: In words what limit and peer are, and figures beside.

    Returns:
        With `ratio_to_limit` and `ratio_to_best_peer`: value over those. For rates more is better, for times less.
    """
    made: Row = {"name": name, "value": value, "unit": unit}
    if limit is not None:
        made |= {"limit": limit, "ratio_to_limit": value / limit}
    if best_peer is not None:
        made |= {"best_peer": best_peer, "ratio_to_best_peer": value / best_peer}
    return made | more


def product_of_matrices(dtype: torch.dtype, size: int = 1024) -> tuple[Callable[[], object], int]:
    """A large product of matrices, the fastest arithmetic that torch has, and its floating-point operations."""
    a, b = torch.rand(size, size).to(dtype), torch.rand(size, size).to(dtype)
    return lambda: a @ b, 2 * size**3


def _time(call: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Spent(time.process_time() - cpu, time.perf_counter() - wall)
