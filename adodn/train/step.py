"""One training step."""

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from adodn.errors import TrainingDivergedError
from adodn.losses import LossTerms, loss_terms
from adodn.models.attentive_dropout import draw_switch
from adodn.samples import Batch, MixedBatch
from adodn.train.state import TrainState

TERMS = ("loss", "landmarks", "response_l1", "importance_l1", "nuclear_norm", "gradient_norm")
"""What a step measures, in the order of its answer."""


def train_step(state: TrainState, batch: Batch) -> Tensor:
    """Forward, backward, update. Gradients are averaged over workers by `state.model`.

    Returns:
        `[6]` float64, the values named by `TERMS`.

    Raises:
        TrainingDivergedError: If the gradient is not finite on any worker; nothing was updated.
    """
    device = next(state.network.parameters()).device
    images, target = batch.images.to(device, non_blocking=True), batch.landmarks.to(device, non_blocking=True)
    with autocast(state.config.train.precision, device):
        prediction = state.model(images, _switch(state, batch).to(device))
    terms = loss_terms(prediction, target, state.network, state.config.loss)
    loss = terms.total(state.config.loss)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = _gradient_norm(state)
    _warm_up(state)
    state.optimiser.step()
    state.step += 1
    if state.config.train.schedule == "one_cycle":
        state.schedule.step()
    return _measured(loss, terms, norm)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """bf16 autocast where the experiment asks for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _switch(state: TrainState, batch: Batch) -> Tensor:
    """What the network takes beside images: who gets the drop mask or, of mixed protocols, each one's branch."""
    if isinstance(batch, MixedBatch):
        return batch.branches
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


def _gradient_norm(state: TrainState) -> Tensor:
    """Of the averaged gradient: one worker's NaN has reached all of them, so all stop at the same step."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in state.network.parameters() if p.grad is not None])
    if not math.isfinite(float(norm)):
        raise TrainingDivergedError(
            f"the gradient at step {state.step} (epoch {state.epoch}) must be finite, its norm is {float(norm)!r}; "
            f"lower train.learning_rate, or use fp32. Nothing was updated with it"
        )
    return norm


def _warm_up(state: TrainState) -> None:
    """Linear climb of the learning rate over the first steps; afterwards the schedule alone decides."""
    train = state.config.train
    if state.step < train.warmup_steps and train.schedule == "plateau":
        for group in state.optimiser.param_groups:
            group["lr"] = train.learning_rate * (state.step + 1) / train.warmup_steps


def _measured(loss: Tensor, terms: LossTerms, norm: Tensor) -> Tensor:
    values = (loss, terms.landmarks, terms.response_l1, terms.importance_l1, terms.nuclear_norm, norm)
    return torch.stack([value.detach().double() for value in values])
