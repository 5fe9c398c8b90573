"""The training loop: plain torch, one process, nothing of Ray or MLflow.

fit(state, train_batches, val_batches, hooks)
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from adodn.config import ExperimentConfig
from adodn.models.batch_norm import running_buffers
from adodn.models.sepbn import anneal
from adodn.samples import Batch
from adodn.train.frozen import hold
from adodn.train.peers import average_over_peers, world_size
from adodn.train.state import TrainState
from adodn.train.step import TERMS, autocast, train_step
from adodn.train.validation import MEAN_OF_DATASETS, mean_nme, nme_of_sources


def val_metric(config: ExperimentConfig) -> str:
    """What validation is logged as: NME by the usual normaliser of the model's protocol, or the mean over datasets.

    It chooses the best epoch; the plateau schedule and early stopping watch it.
    """
    if config.data.sources:
        return MEAN_OF_DATASETS
    return f"val/nme@{config.model.landmark_protocol.usual_normaliser}"


class Batches(Protocol):
    """A loader as the loop sees it: one epoch per iteration, and a place to go on from."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, unless it is the current one."""
        ...

    def state_dict(self) -> dict[str, int | str]:
        """How far the consumer has come."""
        ...

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Go on where a state was taken."""
        ...


class Hooks(Protocol):
    """What the world wants to know of a training. Called on every worker."""

    def after_step(self, state: TrainState) -> None:
        """After each optimiser step; `state.loader` says where the loader stands."""
        ...

    def after_epoch(self, state: TrainState, metrics: dict[str, float]) -> None:
        """After validation, with the metrics of the epoch over all workers."""
        ...


@dataclass
class _Clock:
    """Where an epoch's time goes, in seconds."""

    waiting: float = 0.0
    """For the loader."""
    working: float = 0.0

    def waited(self, since: float) -> float:
        """Count the time since then as waiting; answers now."""
        now = time.perf_counter()
        self.waiting += now - since
        return now

    def worked(self, since: float) -> float:
        """Count the time since then as work; answers now."""
        now = time.perf_counter()
        self.working += now - since
        return now


def fit(
    state: TrainState,
    train: Batches,
    val: Batches | Sequence[Batches],
    hooks: Hooks,
    *,
    micro_batch: int | None = None,
) -> TrainState:
    """Train until `state.should_stop`.

    Args:
        state: What is trained, from wherever it stands.
        train: Faces to train on.
        val: Faces to validate on; where datasets are mixed, those of each of `data.sources`.
        hooks: Who is told of steps and epochs.
        micro_batch: Faces that go through the network at a time, as in `train_step`.

    Raises:
        TrainingDivergedError: If the loss or the gradient is not finite.
    """
    while not state.should_stop:
        metrics = train_epoch(state, train, hooks, micro_batch)
        synchronise(state)
        metrics |= _validated(state, val)
        finish_epoch(state, metrics)
        hooks.after_epoch(state, metrics)
    return state


def train_epoch(state: TrainState, train: Batches, hooks: Hooks, micro_batch: int | None = None) -> dict[str, float]:
    """One pass over the training split, or what is left of it. Returns means over the steps of the epoch."""
    anneal(state.network, state.config.model.sepbn, state.epoch)
    state.model.train()
    hold(state.network, state.config.train.freeze)
    if state.loader:
        train.load_state_dict(state.loader)
    else:
        train.set_epoch(state.epoch)
    state.epoch_sums = state.epoch_sums or dict.fromkeys((*TERMS, "steps"), 0.0)
    clock, since, faces = _Clock(), time.perf_counter(), 0
    for batch in train:
        since = clock.waited(since)
        measured = train_step(state, batch, micro_batch)
        state.loader = train.state_dict()
        _note(state, state.readings.add(measured, step=state.step - 1, epoch=state.epoch))
        hooks.after_step(state)
        faces += len(batch)
        since = clock.worked(since)
    seconds = clock.waiting + clock.working
    speed = {
        "train/faces_per_second": faces * world_size() / seconds if seconds else 0.0,
        "train/data_wait_fraction": clock.waiting / seconds if seconds else 0.0,
    }
    _add_up(state)
    return _means(state.epoch_sums) | speed | {"train/learning_rate": state.optimiser.param_groups[0]["lr"]}


def synchronise(state: TrainState) -> None:
    """Give all workers the same running statistics and measured values: the mean of theirs.

    Both are linear in the workers' batches, so the mean is what one worker alone would have kept. Call it on every
    worker before the state is saved. Frozen ones are left alone: the mean of three equal floats may be another float.
    """
    frozen = state.config.train.freeze
    average_over_peers(running_buffers(state.network, frozen))
    if state.average:
        average_over_peers(running_buffers(state.average.network, frozen))
    _add_up(state)


def _note(state: TrainState, measured: list[list[float]]) -> None:
    state.epoch_steps += [[*values, 1.0] for values in measured]


def _add_up(state: TrainState) -> None:
    """Add the steps' values, their mean over workers, to the sums of the epoch, one step after the other.

    Means before sums, a step at a time: however often this is called in an epoch, the sums are rounded alike.
    """
    _note(state, state.readings.rest())
    if not state.epoch_steps:
        return
    steps = torch.tensor(state.epoch_steps, dtype=torch.float64)
    average_over_peers([steps])
    for step in steps.tolist():
        for name, value in zip(state.epoch_sums, step, strict=True):
            state.epoch_sums[name] += value
    state.epoch_steps = []


def _validated(state: TrainState, val: Batches | Sequence[Batches]) -> dict[str, float]:
    if not isinstance(val, Sequence):
        return {val_metric(state.config): validate(state, val)}
    for faces in val:
        faces.set_epoch(0)
    return nme_of_sources(state, val)


def validate(state: TrainState, val: Batches) -> float:
    """NME of the result by the usual normaliser, a fraction, over all workers' faces."""
    network = state.result.eval()
    val.set_epoch(0)
    device = next(network.parameters()).device

    def predict(images: torch.Tensor) -> torch.Tensor:
        with autocast(state.config.train.precision, device):
            landmarks: torch.Tensor = network(images.to(device, non_blocking=True)).landmarks
        return landmarks

    return mean_nme(predict, val, state.config.model.landmark_protocol)


def finish_epoch(state: TrainState, metrics: dict[str, float]) -> None:
    """Count the epoch, note a gain, let the schedule look."""
    state.epoch += 1
    state.loader, state.epoch_sums, state.epoch_steps = {}, {}, []
    score = metrics[val_metric(state.config)]
    if score < state.best_nme:
        state.best_nme, state.best_epoch = score, state.epoch
    state.schedule.after_epoch(score)


def _means(sums: dict[str, float]) -> dict[str, float]:
    """Means over steps."""
    *terms, steps = sums.values()
    return {f"train/{name}": value / max(steps, 1.0) for name, value in zip(TERMS, terms, strict=True)}
