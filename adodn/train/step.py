"""One training step, its stages named for `torch.profiler`.

measured = train_step(state, batch, micro_batch=16)
dict(zip(TERMS, measured.tolist()))

Nothing in it waits for a GPU but the nuclear norm, whose eigenvalues do.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from adodn.losses import LossTerms, loss_terms
from adodn.models.attentive_dropout import draw_switch
from adodn.samples import Batch, MixedBatch
from adodn.train.micro_batches import RunningStatistics, split
from adodn.train.readings import require_finite
from adodn.train.state import TrainState

TERMS = ("loss", *(field.name for field in fields(LossTerms)), "gradient_norm")
"""What a step measures, in the order of its answer; the gradient's norm is that before it is clipped."""
STAGES = ("adodn forward", "adodn losses", "adodn backward", "adodn gradient norm", "adodn update")
"""What `torch.profiler` shows a step's stages as. Workers exchange gradients within the backward pass."""
_FORWARD, _LOSSES, _BACKWARD, _NORM, _UPDATE = STAGES


def train_step(state: TrainState, batch: Batch, micro_batch: int | None = None) -> Tensor:
    """Forward, backward, update. Gradients are averaged over workers by `state.model`.

    Args:
        state: What is updated.
        batch: This worker's share of the global batch.
        micro_batch: Faces that go through the network at a time, which bounds memory and never changes the result; a
            multiple of the faces of a batch norm. None: all of them.

    Returns:
        `[T]` float64, the values named by `TERMS`.

    Raises:
        TrainingDivergedError: If the loss or the gradient is not finite on any worker; no weight was updated. Where
            `state.readings` come late, it is they who raise it, and no weight was updated either.
    """
    state.optimiser.zero_grad(set_to_none=True)
    measured = _accumulate(state, split(batch, micro_batch))
    with record_function(_NORM):
        # Of the averaged gradient: one worker's NaN has reached all of them, so all stop at the same step.
        norm = torch.nn.utils.get_total_norm([p.grad for p in state.network.parameters() if p.grad is not None])
        measured = torch.cat((measured, norm.double().reshape(1)))
        _guard(state, measured)
    with record_function(_UPDATE):
        _update(state, norm)
    return measured


def _guard(state: TrainState, measured: Tensor) -> None:
    """See that no weight is updated with a gradient that is not finite."""
    if state.readings.lag:
        # To look would be to wait for the GPU. A fused optimiser skips, on the device, what is marked so.
        state.optimiser.found_inf = (~measured[-1].isfinite()).float()  # type: ignore[attr-defined]
    else:
        require_finite(measured.tolist(), state.step, state.epoch)


def _accumulate(state: TrainState, parts: list[Batch]) -> Tensor:
    """Backward of all parts of a batch; workers exchange gradients once. Answers the values of the whole."""
    if len(parts) == 1:
        return _backward(state, parts[0], 1.0)
    measured, faces = [], sum(len(part) for part in parts)
    statistics = RunningStatistics(state.network)
    for part in parts:
        share = len(part) / faces
        with statistics.of_part(share), _exchange(state.model, part is parts[-1]):
            measured.append(share * _backward(state, part, share))
    statistics.write()
    return torch.stack(measured).sum(0)


def _backward(state: TrainState, part: Batch, share: float) -> Tensor:
    """Add the gradient of `share` times the loss of a part; answers the loss and its terms."""
    device = next(state.network.parameters()).device
    images, target = part.images.to(device, non_blocking=True), part.landmarks.to(device, non_blocking=True)
    with record_function(_FORWARD), autocast(state.config.train.precision, device):
        prediction = state.model(images, _switch(state, part, device))
    with record_function(_LOSSES):
        terms = loss_terms(prediction, target, state.network, state.config.loss)
        loss = terms.total(state.config.loss)
        # A loss that is not finite may have a finite gradient, even 0. NaN goes on to all workers with the gradient.
        weight = torch.full_like(loss, share).masked_fill(~loss.isfinite(), math.nan)
    with record_function(_BACKWARD):
        loss.backward(weight)  # type: ignore[no-untyped-call]
    return torch.stack([value.detach().double() for value in (loss, *_values(terms))])


def _values(terms: LossTerms) -> list[Tensor]:
    return [getattr(terms, field.name) for field in fields(terms)]


def _exchange(model: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Data-parallel workers exchange gradients with the last part alone."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return nullcontext()


def _update(state: TrainState, norm: Tensor) -> None:
    clip = state.config.train.gradient_clip
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(state.network.parameters(), clip, norm)
    state.schedule.before_step(state.step)
    state.optimiser.step()
    state.step += 1
    if state.average:
        state.average.update(state.network, state.step)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """bf16 autocast where the experiment asks for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _switch(state: TrainState, batch: Batch, device: torch.device) -> Tensor:
    """What the network takes beside images: who gets the drop mask or, of mixed protocols, each one's branch."""
    if isinstance(batch, MixedBatch):
        return batch.branches  # stays on the host, which sends each face through its own
    return _dropping(state, batch).to(device, non_blocking=True)


def _dropping(state: TrainState, batch: Batch) -> Tensor:
    model = state.config.model
    if state.epoch < model.drop_warmup_epochs:
        return torch.zeros(len(batch), dtype=torch.bool)
    return draw_switch(
        seed=state.config.train.seed,
        step=state.step,
        probability=model.drop_probability,
        positions=batch.positions,
        scope=model.switch,
    )
