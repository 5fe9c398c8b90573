"""How cost grows with samples, shards, workers and trials: what is measured here, and what is simulated from that.

python -m tests.benchmarks.scaling measured       a minute or two
python -m tests.benchmarks.scaling validated      the simulation beside two real workers
python -m tests.benchmarks.scaling simulated      the same figures on every machine

`docs/scaling.md` has what they printed. Planning, loading, sharding and a trial's overhead are measured by
`make bench`.
"""

import io
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from torch.nn.parallel import DistributedDataParallel

from adodn import recipes
from adodn.data.manifest import ImagePolicy, Manifest, ShardEntry
from adodn.settings import Settings
from adodn.train.peers import average_over_peers
from tests.benchmarks.bench_step import RECIPE
from tests.benchmarks.epoch_simulation import Cluster, Costs, epoch, search_s
from tests.benchmarks.face_folder import FaceFolder, in_shards
from tests.benchmarks.measure import alternately
from tests.benchmarks.s3_server import s3_server
from tests.benchmarks.training_loop import InMemory, Ours, random_batches
from tests.processes import together

MEASURED = Costs(fixed_s=0.028, face_s=0.0325, spread=0.043, decode_s=1 / 899, face_bytes=31.6e3, gradient_bytes=55.4e6)
"""One thread of this machine, `adodn_300w_small`: printed by `measured`, but for `decode_s`, by `make bench`."""
CORE = replace(MEASURED, face_s=MEASURED.face_s + MEASURED.decode_s, decode_s=0.0)
"""A worker that has one core, which also prepares its batches."""
FAST = replace(MEASURED, fixed_s=0.01, face_s=1 / 2000)
"""A worker with a GPU of 2,000 faces a second and 10 ms a step beside. Assumed: none was at hand."""
TRIAL_OVERHEAD_S = 2.5
GPU = Cluster(workers=1, loader_threads=4)
_FACES = (10**4, 10**5, 10**6, 10**7)
_WORKERS = (1, 2, 4, 8, 16, 32, 64)


def measured() -> list[str]:
    """What depends on sizes and can be measured on one machine."""
    torch.set_num_threads(1)
    costs, metrics = _costs()
    told = [
        f"manifest of {shards:,} shards: {_manifest_bytes(shards) / 1e6:.3f} MB" for shards in (10**3, 10**4, 10**5)
    ]
    told += [
        f"a step of one thread: {1000 * costs.fixed_s:.0f} ms and {1000 * costs.face_s:.1f} ms a face, "
        f"spread {costs.spread:.3f}",
        f"a face in a shard: {_face_bytes() / 1e3:.1f} kB",
        f"gradients: {costs.gradient_bytes / 1e6:.1f} MB",
        f"a checkpoint: {_checkpoint_bytes() / 1e6:.1f} MB",
        f"metrics of an epoch on MLflow: {metrics + 1} rows",
    ]
    return told + [
        f"TPE's next suggestion after {trials:,} trials: {1000 * seconds:.0f} ms"
        for trials, seconds in _suggestion_s((10, 100, 1000)).items()
    ]


def validated(rounds: int = 2) -> list[str]:
    """Two real workers on this machine beside two that are simulated from what each takes when nothing is exchanged."""
    told = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            pair = together(_one_of_two, Path(name) / "pair")
        real, apart, exchange = (statistics.mean(one[part] for one in pair) for part in ("step", "apart", "exchange"))
        costs = replace(MEASURED, fixed_s=0.0, face_s=apart / 16)
        # In a ring of two all gradients pass once.
        here = Cluster(workers=2, network_bytes_s=costs.gradient_bytes / exchange, hop_s=0.0)
        guess = epoch(costs, here, faces=32 * 1000, warm=True).seconds / 1000
        told.append(
            f"two workers, 16 faces each: {1000 * real:.0f} ms a step, simulated {1000 * guess:.0f} "
            f"({guess / real:.2f}); nothing exchanged {1000 * apart:.0f}, exchange by itself {1000 * exchange:.0f}"
        )
    return told


def _one_of_two(steps: int = 2) -> dict[str, float]:
    """Seconds of a step with and without its exchange of gradients, and of an exchange by itself."""
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    config = recipes.get(RECIPE)
    training = Ours(config, InMemory(random_batches(config, steps)))
    model = cast(DistributedDataParallel, training.state.model)
    training()  # makes the gradients, and the buckets they lie in
    gradients = [p.grad for p in training.state.network.parameters() if p.grad is not None]

    def apart() -> None:
        with model.no_sync():
            training()

    spent = alternately(training, apart, lambda: average_over_peers(gradients), repeats=5)
    return {"step": spent[0].wall_s / steps, "apart": spent[1].wall_s / steps, "exchange": spent[2].wall_s}


def simulated() -> list[str]:
    """Epochs by workers and faces, and searches by trials at a time."""
    told = ["One core a worker, 10 Gbit/s:", *_by_workers(CORE, Cluster(workers=1))]
    for network, cluster in (("10", GPU), ("100", replace(GPU, network_bytes_s=12.5e9))):
        told += ["", f"A fast worker, {network} Gbit/s:", *_by_workers(FAST, cluster)]
    told += ["", "Fast workers, 100 Gbit/s, no shard on any node at first:", *_by_faces()]
    return [*told, "", "Searches:", *_searches()]


def _by_workers(costs: Costs, cluster: Cluster, faces: int = 10**6) -> list[str]:
    head = "| workers | 10⁶ faces | faces/s | of N workers | waits for data | for the slowest | for gradients |"
    rows, alone = [head, "|--:|--:|--:|--:|--:|--:|--:|"], 0.0
    for workers in _WORKERS:
        found = epoch(costs, replace(cluster, workers=workers), faces=faces, warm=True)
        rate = faces / found.seconds
        alone = alone or rate
        rows.append(
            f"| {workers} | {_duration(found.seconds)} | {rate:,.0f} | {rate / alone / workers:.2f} | "
            f"{_percent(found.waiting)} | {_percent(found.stragglers)} | {_percent(found.exchange)} |"
        )
    return rows


def _by_faces() -> list[str]:
    rows = [
        "| faces | workers | first epoch | waits for data | downloaded | requests | later epochs |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for faces in _FACES:
        for workers in (1, 8, 64):
            cluster = replace(GPU, workers=workers, network_bytes_s=12.5e9)
            cold, warm = (epoch(FAST, cluster, faces=faces, warm=warm) for warm in (False, True))
            kept = faces * FAST.face_bytes <= Settings.model_fields["cache_max_bytes"].default
            rows.append(
                f"| 10{'⁴⁵⁶⁷'[round(math.log10(faces)) - 4]} | {workers} | {_duration(cold.seconds)} | "
                f"{_percent(cold.waiting)} | {cold.downloaded_bytes / 1e9:,.1f} GB | {cold.requests_s:,.0f}/s | "
                f"{_duration(warm.seconds) if kept else 'as the first'} |"
            )
    return rows


def _searches(trials: int = 256, seed: int = 0) -> list[str]:
    """Trials of a minute and of an hour, lognormal around that."""
    rows = ["| trials at a time | 256 trials of a minute | of N | of an hour | of N |", "|--:|--:|--:|--:|--:|"]
    draws = np.random.default_rng(seed).lognormal(0, 0.3, trials)
    lengths = [(draws * seconds).tolist() for seconds in (60.0, 3600.0)]
    alone = [search_s(length, at_once=1, overhead_s=0.0) for length in lengths]
    for at_once in _WORKERS:
        spent = [search_s(length, at_once=at_once, overhead_s=TRIAL_OVERHEAD_S) for length in lengths]
        cells = (f"{_duration(s)} | {one / s / at_once:.2f}" for s, one in zip(spent, alone, strict=True))
        rows.append(f"| {at_once} | {' | '.join(cells)} |")
    return rows


def _costs() -> tuple[Costs, int]:
    """One worker's, by core time, and the number of an epoch's metrics."""
    small, large = (_with_batch(faces) for faces in (16, 32))
    spent = alternately(small, large, repeats=9)
    face_s = (spent[1].cpu_s - spent[0].cpu_s) / 16
    times = [alternately(large, repeats=1, warm_up=0)[0].cpu_s for _ in range(9)]
    gradients = sum(p.numel() for p in large.state.network.parameters() if p.requires_grad)
    return replace(
        MEASURED,
        fixed_s=spent[0].cpu_s - 16 * face_s,
        face_s=face_s,
        spread=statistics.stdev(map(math.log, times)),
        gradient_bytes=4.0 * gradients,
    ), len(large())


def _with_batch(faces: int) -> Ours:
    """An epoch of one step."""
    config = recipes.get(RECIPE).with_fields({"train.global_batch": faces})
    return Ours(config, InMemory(random_batches(config, 1)))


def _manifest_bytes(shards: int) -> int:
    entries = tuple(
        ShardEntry(name=f"train-{number:06d}.tar", bytes=7_680_000, sha256=f"{number:064x}", samples=256)
        for number in range(shards)
    )
    manifest = Manifest(dataset="d", version="v", protocol="68", image_policy=ImagePolicy(), splits={"train": entries})
    return len(manifest.to_json().encode())


def _face_bytes(faces: int = 256) -> float:
    """Of crops of 256 px, their records and the tar's own blocks with them."""
    with tempfile.TemporaryDirectory() as name, s3_server(Path(name) / "server") as store:
        _, manifest = in_shards(FaceFolder(Path(name), faces=faces), store)
        return sum(entry.bytes for entry in manifest.splits["train"]) / faces


def _checkpoint_bytes() -> int:
    training = _with_batch(16)
    training()
    file = io.BytesIO()
    torch.save(training.state.state_dict(), file)
    return file.getbuffer().nbytes


def _suggestion_s(counts: tuple[int, ...]) -> dict[int, float]:
    """Seconds for a suggestion of five parameters, by the trials that TPE has learned from; trials in memory."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, BaseDistribution] = {name: FloatDistribution(1e-6, 1.0, log=True) for name in "abcde"}
    study, draws = optuna.create_study(sampler=TPESampler(seed=0)), np.random.default_rng(0)
    found = {}
    for count in counts:
        while len(study.get_trials(deepcopy=False)) < count:
            params = {name: float(10 ** draws.uniform(-6, 0)) for name in space}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=draws.random()))
        began = time.perf_counter()
        study.ask(space)
        found[count] = time.perf_counter() - began
    return found


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


COMMANDS: dict[str, Callable[[], list[str]]] = {"measured": measured, "validated": validated, "simulated": simulated}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"error: expected one of {', '.join(COMMANDS)}, got {' '.join(sys.argv[1:])!r}")
    sys.stdout.write("\n".join(COMMANDS[sys.argv[1]]()) + "\n")
