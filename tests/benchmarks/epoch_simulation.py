"""An epoch of training on N workers, simulated step by step from measured costs and stated assumptions.

    simulated = epoch(Costs(...), Cluster(workers=8), faces=10**6, warm=False)
    simulated.seconds, simulated.waiting

A worker computes its share, waits for the slowest, and exchanges gradients in a ring. Its loader works beside it, a few
batches ahead: each batch must have been downloaded, where the cache is cold, and decoded. Every node downloads every
shard, because each global batch is spread over all workers and comes from all shards of a window.

Shapes: N workers, T steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHARD_FACES = 256
_MOST_STEPS = 2000
"""That are simulated; of a longer epoch, the rest goes on as they do on average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What was measured on one machine."""

    fixed_s: float
    """Of a step on one worker, however few its faces: nuclear norm, optimiser, norm of the gradient."""
    face_s: float
    """Of a step on one worker, for each of its faces."""
    spread: float
    """σ of a step's time, lognormal."""
    decode_s: float
    """Of a face, in one loader thread."""
    face_bytes: float
    """Of a face in a shard."""
    gradient_bytes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What is assumed of the machines. One worker a node."""

    workers: int
    worker_faces: int = 16
    """A step, on each worker."""
    loader_threads: int = 1
    ahead: int = 2
    """Batches kept ready."""
    network_bytes_s: float = 1.25e9
    """Of a node, each way: 10 Gbit/s."""
    hop_s: float = 50e-6
    """Of one message in the ring."""
    overlap: float = 0.5
    """Share of a step beside which gradients travel: most of the backward pass."""
    s3_requests_s: float = 5500.0
    """What S3 promises for a prefix."""
    s3_bytes_s: float = 12.5e9
    """Of all nodes together: 100 Gbit/s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What came of it."""

    seconds: float
    waiting: float
    """Share of the time in which the slowest worker has nothing to compute on: for data."""
    stragglers: float
    """Share that the others wait for the slowest."""
    exchange: float
    """Share in which gradients travel and nothing else happens."""
    downloaded_bytes: float
    """By all nodes."""
    requests_s: float
    """To S3, on average."""


def epoch(costs: Costs, cluster: Cluster, *, faces: int, warm: bool, seed: int = 0) -> Epoch:
    """Simulate one.

    Args:
        costs: Measured.
        cluster: Assumed.
        faces: In the training split.
        warm: Whether all shards are on every node already.
        seed: Of the steps' times.
    """
    steps = max(1, faces // (cluster.workers * cluster.worker_faces))
    simulated = min(steps, _MOST_STEPS)
    compute = _step_times(costs, cluster, simulated, seed)
    exchange = max(0.0, ring_s(costs, cluster) - cluster.overlap * float(compute.mean()))
    waits, now = _waits(costs, cluster, compute.max(1) + exchange, 0.0 if warm else download_s(costs, cluster))
    seconds = now * steps / simulated
    fetched = 0.0 if warm else cluster.workers * faces * costs.face_bytes
    return Epoch(
        seconds=seconds,
        waiting=waits / now,
        stragglers=float((compute.max(1) - compute.mean(1)).sum()) / now,
        exchange=exchange * simulated / now,
        downloaded_bytes=fetched,
        requests_s=fetched / (_SHARD_FACES * costs.face_bytes) / seconds,
    )


def ring_s(costs: Costs, cluster: Cluster) -> float:
    """An exchange of all gradients by itself: 2 (N - 1) messages of an Nth of them each."""
    hops = 2 * (cluster.workers - 1)
    return hops * (costs.gradient_bytes / cluster.workers / cluster.network_bytes_s + cluster.hop_s)


def download_s(costs: Costs, cluster: Cluster) -> float:
    """Until each node has the shards of one global batch: as fast as its network, or S3 for all nodes, allows."""
    batch_bytes = cluster.workers * cluster.worker_faces * costs.face_bytes
    node_bytes_s = min(cluster.network_bytes_s, cluster.s3_bytes_s / cluster.workers)
    requests = batch_bytes / (_SHARD_FACES * costs.face_bytes)
    return max(batch_bytes / node_bytes_s, requests * cluster.workers / cluster.s3_requests_s)


def step_s(costs: Costs, faces: int) -> float:
    """A step on one worker."""
    return costs.fixed_s + faces * costs.face_s


def _step_times(costs: Costs, cluster: Cluster, steps: int, seed: int) -> NDArray[np.float64]:
    """`[T, N]`, with the mean of `step_s`."""
    draws = np.random.default_rng(seed).lognormal(-(costs.spread**2) / 2, costs.spread, (steps, cluster.workers))
    return step_s(costs, cluster.worker_faces) * draws


def _waits(costs: Costs, cluster: Cluster, busy: NDArray[np.float64], download: float) -> tuple[float, float]:
    """Seconds of waiting for data, and of everything, over steps that keep the workers busy for `busy` `[T]`.

    A batch is begun when one of the batches ahead is taken, and comes when it is downloaded and decoded.
    """
    every = max(download, cluster.worker_faces * costs.decode_s / cluster.loader_threads)
    taken: list[float] = []
    ready = now = waits = 0.0
    for number, seconds in enumerate(busy.tolist()):
        begun = taken[number - cluster.ahead - 1] if number > cluster.ahead else 0.0
        ready = max(ready, begun) + every
        waits += max(0.0, ready - now)
        now = max(ready, now)
        taken.append(now)
        now += seconds
    return waits, now


def search_s(trial_s: list[float], *, at_once: int, overhead_s: float) -> float:
    """Until all trials of a search are done, each begun where one has ended.

    Args:
        trial_s: What each trains, in the order of beginning.
        at_once: Trials at a time.
        overhead_s: Of a trial beside its training.
    """
    free = [0.0] * at_once
    for seconds in trial_s:
        free.sort()
        free[0] += overhead_s + seconds
    return max(free)
