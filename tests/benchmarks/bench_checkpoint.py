"""For how long a checkpoint stops the training: the copy of the state, against copy, file and upload together.

import bench_checkpoint; bench_checkpoint.run()
"""

import tempfile
import time
from pathlib import Path

import torch

from adodn.train import checkpoint
from adodn.train.checkpoints import Checkpoints
from adodn.train.state import TrainState, build_state
from tests.benchmarks.measure import Row, row
from tests.benchmarks.s3_server import s3_server
from tests.benchmarks.training_step import TrainingStep

ROUNDS = 5


def run() -> list[Row]:
    """The measurement `checkpoint`, on the clock on the wall."""
    step = TrainingStep()
    state = _trained(step)
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as store:
        store.ensure_bucket("adodn")
        with Checkpoints(store, "s3://adodn/runs/bench") as kept:
            kept.claim()
            rounds = [_round(kept, state, step) for _ in range(ROUNDS + 1)][1:]
    stopped, whole, alone, beside = (1000 * min(column) for column in zip(*rounds, strict=True))
    return [
        row(
            "checkpoint",
            stopped,
            "ms",
            best_peer=whole,
            peer="copy, file and upload in the thread that trains",
            megabytes=len(checkpoint.to_bytes(checkpoint.snapshot(state))) / 1e6,
            step_ms=alone,
            step_beside_upload_ms=beside,
            step_is="adodn_300w, 32 faces of 224 px, bf16, one thread",
        )
    ]


def _trained(step: TrainingStep) -> TrainState:
    """A state of that network with the optimiser's moments, as after a first step."""
    state = build_state(step.config, step.network, step.network, 1)
    for parameter in step.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimiser.step()
    state.optimiser.zero_grad()
    return state


def _round(kept: Checkpoints, state: TrainState, step: TrainingStep) -> tuple[float, float, float, float]:
    """Seconds: of the copy, until all is saved, of a step alone, and of a step while a checkpoint is on its way."""
    state.step += 1
    start = time.perf_counter()
    kept.add(state, None)
    copied = time.perf_counter()
    kept.settle()
    saved = time.perf_counter()
    step()
    stepped = time.perf_counter()
    state.step += 1
    kept.add(state, None)
    began = time.perf_counter()
    step()
    beside = time.perf_counter() - began
    kept.settle()
    return copied - start, saved - start, stepped - saved, beside
