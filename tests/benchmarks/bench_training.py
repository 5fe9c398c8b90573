"""What a training step costs, and the nuclear norm's share of it. On one thread, the machine otherwise idle or not."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from adodn import losses, models, recipes
from adodn.train.step import autocast

_FACES = 16
_REPEATS = 5


def run() -> list[dict[str, Any]]:
    """The measurements `train_step` and `nuclear_norm`."""
    torch.set_num_threads(1)
    config = recipes.adodn_300w_small()
    network = models.build(config.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = config.model.input_px
    images = torch.randint(0, 256, (_FACES, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    target = torch.rand(_FACES, 68, 2)
    drop = torch.zeros(_FACES, dtype=torch.bool)
    optimiser = torch.optim.Adam(network.parameters(), fused=True)

    def step() -> None:
        with autocast(config.train.precision, torch.device("cpu")):
            prediction = network(images, drop)
        losses.loss_terms(prediction, target, network, config.loss).total(config.loss).backward()
        optimiser.step()
        optimiser.zero_grad()

    def norm() -> None:
        losses.nuclear_norm(network.low_rank_matrix).backward()

    step_s, norm_s = _seconds(step), _seconds(norm)
    return [
        {"name": "train_step", "value": _FACES / step_s, "unit": "faces/s/core"},
        {"name": "nuclear_norm", "value": 1000 * norm_s, "unit": "ms", "share_of_step": norm_s / step_s},
    ]


def _seconds(call: Callable[[], None]) -> float:
    """Median CPU time after a warm-up: what other work on the machine does counts least."""
    times = []
    for _ in range(_REPEATS + 2):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return median(times[2:])
