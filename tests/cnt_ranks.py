"""Some steps of cross-protocol training on one rank of several, with what came of each written down."""

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from adodn import models
from adodn.config import ExperimentConfig
from adodn.samples import MixedBatch
from adodn.train.state import build_state
from adodn.train.step import train_step

Steps = list[list[int]]
"""Each step's branches, face by face of the global batch."""


def mixed_batch(branches: list[int], counts: list[int], step: int, faces: slice, side: int) -> MixedBatch:
    """The faces of a global batch that one rank takes; noise, the same for any rank."""
    noise = torch.Generator().manual_seed(step)
    size, most = len(branches), max(counts)
    images = torch.randint(0, 256, (size, 3, side, side), generator=noise, dtype=torch.uint8)
    landmarks = torch.rand(size, most, 2, generator=noise)
    for face, branch in enumerate(branches):
        landmarks[face, counts[branch] :] = 0
    places = torch.arange(size)
    return MixedBatch(
        images=images[faces],
        landmarks=landmarks[faces],
        visible=torch.ones(size, most, dtype=torch.bool)[faces],
        crop_to_image=torch.eye(2, 3, dtype=torch.float64).expand(size, 2, 3)[faces],
        image_landmarks=landmarks.double()[faces],
        image_boxes=torch.tensor([0.0, 0, 1, 1]).expand(size, 4).double()[faces],
        indices=places[faces],
        is_padding=torch.zeros(size, dtype=torch.bool)[faces],
        positions=places[faces],
        keys=[f"face-{place}" for place in places[faces].tolist()],
        subsets=[()] * len(places[faces]),
        branches=torch.tensor(branches)[faces],
    )


def run(rank: int, world_size: int, config_json: str, steps: Steps, folder: str) -> None:
    """Train and save `[step]` gradients, weights and losses to `folder/RANK-of-WORLD_SIZE.pt`."""
    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=60),
        )
    config = ExperimentConfig.from_json(config_json)
    torch.manual_seed(0)
    network = models.build_for(config).double().train()
    model = DistributedDataParallel(network, forward_sync_buffers=False) if world_size > 1 else network
    state = build_state(config, network, model, len(steps))
    counts = [protocol.num_landmarks for protocol in config.branches]
    told = []
    for number, branches in enumerate(steps):
        share = len(branches) // world_size
        mine = slice(rank * share, (rank + 1) * share)
        measured = train_step(state, mixed_batch(branches, counts, number, mine, config.model.input_px))
        told.append(
            {
                "loss": measured[0].item(),
                "gradients": {name: parameter.grad.clone() for name, parameter in network.named_parameters()},
                "weights": {name: value.detach().clone() for name, value in network.named_parameters()},
            }
        )
    torch.save(told, Path(folder) / f"{rank}-of-{world_size}.pt")
    if world_size > 1:
        dist.destroy_process_group()
