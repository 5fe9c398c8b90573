"""Some steps of cross-protocol training on one rank of any number, with what came of each.

told = together(cnt_ranks.train, folder)
"""

from typing import Any

import torch

from adodn import models
from adodn.config import ExperimentConfig, LossConfig, ModelConfig, Source, TrainConfig
from adodn.samples import MixedBatch
from adodn.train.state import build_state
from adodn.train.step import train_step
from tests.memory_training import share, wrapped

STEPS = [
    [0, 0, 1, 0, 0, 0, 0, 0],  # of two ranks, the second lacks branch 1, and their counts of each branch differ
    [1, 1, 1, 1, 0, 1, 0, 1],  # the first lacks branch 0
    [0, 0, 0, 0, 0, 0, 0, 0],  # nobody has branch 1
    [1, 1, 1, 1, 0, 0, 0, 0],  # each rank has but one branch, and not the same
    [0, 1, 0, 1, 1, 0, 0, 1],
]
"""Each step's branches, face by face of the global batch."""
MODEL = ModelConfig(
    head="cnt_branch",
    geometry="none",
    occlusion="none",
    low_rank=False,
    input_px=64,
    grid=1,
    hidden_width=8,
    branch_kernel=1,
    batch_norm_faces=4,
)
CONFIG = ExperimentConfig(
    name="ranks",
    model=MODEL,
    loss=LossConfig(regression="l1"),
    train=TrainConfig(global_batch=8, precision="fp64"),
).on_sources([Source(name="a", dataset="a", protocol="29"), Source(name="b", dataset="b", protocol="68")])


def mixed_batch(branches: list[int], counts: list[int], step: int, side: int) -> MixedBatch:
    """A global batch of noise, the same for any rank."""
    noise = torch.Generator().manual_seed(step)
    size, most = len(branches), max(counts)
    images = torch.randint(0, 256, (size, 3, side, side), generator=noise, dtype=torch.uint8)
    landmarks = torch.rand(size, most, 2, generator=noise)
    for face, branch in enumerate(branches):
        landmarks[face, counts[branch] :] = 0
    return MixedBatch(
        images=images,
        landmarks=landmarks,
        visible=torch.ones(size, most, dtype=torch.bool),
        crop_to_image=torch.eye(2, 3, dtype=torch.float64).expand(size, 2, 3),
        image_landmarks=landmarks.double(),
        image_boxes=torch.tensor([0.0, 0, 1, 1]).expand(size, 4).double(),
        indices=torch.arange(size),
        is_padding=torch.zeros(size, dtype=torch.bool),
        positions=torch.arange(size),
        keys=[f"face-{place}" for place in range(size)],
        subsets=[()] * size,
        branches=torch.tensor(branches),
    )


def train() -> dict[str, Any]:
    """`[step]` gradients, weights and losses on this rank."""
    torch.manual_seed(0)
    network = models.build_for(CONFIG).double().train()
    state = build_state(CONFIG, network, wrapped(network), len(STEPS))
    counts = [protocol.num_landmarks for protocol in CONFIG.branches]
    told: dict[str, Any] = {"loss": [], "gradients": [], "weights": []}
    for number, branches in enumerate(STEPS):
        batch = share(mixed_batch(branches, counts, number, CONFIG.model.input_px))
        told["loss"].append(float(train_step(state, batch)[0]))
        told["gradients"].append({name: value.grad.clone() for name, value in network.named_parameters()})
        told["weights"].append({name: value.detach().clone() for name, value in network.named_parameters()})
    return told
