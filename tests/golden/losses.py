"""What the first steps of a recipe come to, in one process and double precision, on the eight faces beside this file.

    measured = first_steps(recipes.adodn_smoke())

python -m tests.golden.losses writes `losses.json` anew, and shows what changed; say in the commit why it may.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from adodn import models, recipes
from adodn.config import ExperimentConfig
from adodn.samples import Batch
from adodn.train.state import build_state
from adodn.train.step import TERMS, train_step
from tests.golden.faces import COUNT, faces
from tests.memory_training import share, wrapped

KEPT = Path(__file__).with_name("losses.json")
RECIPES = ("adodn_smoke", "odn_smoke")
STEPS = 4
STEPS_PER_EPOCH = 2
"""Fewer than a real epoch has, so that drop masks, which come after the warm-up epochs, are among the steps."""


def first_steps(config: ExperimentConfig) -> dict[str, list[float]]:
    """The loss, its terms and the norm of the gradient, by the names of `TERMS`; one value a step.

    In a process group it trains as one rank of it, on its share of the faces, and answers that rank's own values.
    """
    config = config.with_fields({"train.precision": "fp64", "train.global_batch": COUNT})
    with _double_precision():
        torch.manual_seed(config.train.seed)
        network = models.build(config.model).train()
    batch, state = share(_batch()), build_state(config, network, wrapped(network), STEPS_PER_EPOCH)
    rows = []
    with _one_thread():
        for step in range(STEPS):
            state.epoch = step // STEPS_PER_EPOCH
            rows.append(train_step(state, batch).tolist())
    return {name: list(values) for name, values in zip(TERMS, zip(*rows, strict=True), strict=True)}


def write() -> None:
    """Keep what the code comes to now."""
    measured = {name: first_steps(recipes.get(name)) for name in RECIPES}
    if KEPT.exists() and (old := json.loads(KEPT.read_text())) != measured:
        sys.stdout.write(f"was {json.dumps(old)}\nnow {json.dumps(measured)}\n")
    KEPT.write_text(json.dumps(measured, indent=1) + "\n")


@contextmanager
def _double_precision() -> Iterator[None]:
    """Initial weights are drawn in double precision: in single, processors round them differently."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Eight small faces are too little work to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch() -> Batch:
    images, landmarks = faces()
    return Batch(
        images=images,
        landmarks=landmarks,
        visible=torch.ones(landmarks.shape[:2], dtype=torch.bool),
        crop_to_image=torch.eye(2, 3, dtype=torch.float64).expand(COUNT, 2, 3),
        image_landmarks=landmarks.double(),
        image_boxes=torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).expand(COUNT, 4),
        indices=torch.arange(COUNT),
        is_padding=torch.zeros(COUNT, dtype=torch.bool),
        positions=torch.arange(COUNT),
        keys=[f"face-{number:02d}" for number in range(COUNT)],
        subsets=[()] * COUNT,
    )


if __name__ == "__main__":
    write()
