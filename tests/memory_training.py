"""A training that is small enough for unit tests: the whole network on a trunk of three layers, faces in memory.

state = small_state(small_config({"train.epochs": 2}))
fit(state, Faces(16, 8), Faces(8, 8), Hooked())
"""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adodn import models
from adodn.config import ExperimentConfig, ModelConfig, TrainConfig
from adodn.models import OcclusionAdaptiveNet
from adodn.models.batch_norm import VirtualBatchNorm2d
from adodn.samples import Batch
from adodn.train.frozen import freeze
from adodn.train.peers import DATA_PARALLEL, rank, world_size
from adodn.train.state import TrainState, build_state

_AnyBatch = TypeVar("_AnyBatch", bound=Batch)
MODEL = ModelConfig(input_px=64, grid=1, rank_width=4, reduction=64, batch_norm_faces=2, drop_warmup_epochs=1)
TRAIN = TrainConfig(epochs=2, global_batch=8, precision="fp64", learning_rate=1e-3)


class SmallTrunk(nn.Module):
    """In place of ResNet-18: the same shapes, a thousandth of the work."""

    channels = 512

    def __init__(self, faces: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 16, 16, bias=False)
        self.bn1 = VirtualBatchNorm2d(8, faces=faces)
        self.widen = nn.Conv2d(8, self.channels, 2, 2, bias=False)
        self.bn2 = VirtualBatchNorm2d(self.channels, faces=faces)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 3, S, S]` → `[B, 512, S / 32, S / 32]`."""
        widened: Tensor = self.widen(torch.relu(self.bn1(self.patches(images))))
        return torch.relu(widened)

    def last_unit(self, features: Tensor) -> Tensor:
        """Both `[B, 512, H, W]`."""
        return torch.relu(features + self.bn2(features))


def small_config(changes: dict[str, object] | None = None) -> ExperimentConfig:
    """The experiment of these tests, with dotted fields replaced."""
    return ExperimentConfig(name="small", model=MODEL, train=TRAIN).with_fields(changes or {})


def small_network(config: ExperimentConfig) -> OcclusionAdaptiveNet:
    """The same weights each time."""
    torch.set_num_threads(1)  # on a busy machine, threads that wait for one another cost more than such a network
    torch.manual_seed(config.train.seed)
    network = models.build(config.model)
    network.trunk = SmallTrunk(config.model.batch_norm_faces)  # type: ignore[assignment]
    return network.double() if config.train.precision == "fp64" else network


def small_state(config: ExperimentConfig, steps: int = 3) -> TrainState:
    """A training before its first step."""
    network = small_network(config)
    freeze(network, config.train.freeze)
    return build_state(config, network, wrapped(network), steps)


def wrapped(network: nn.Module) -> nn.Module:
    """Data-parallel in a process group, as on a cluster; the network itself in a process alone."""
    return DistributedDataParallel(network, **DATA_PARALLEL) if world_size() > 1 else network


def small_batch(faces: int, seed: int = 0) -> Batch:
    """Random pixels; landmarks that follow from their mean colours, so that there is something to learn."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (faces, 3, 64, 64), dtype=torch.uint8, generator=draws)
    landmarks = 0.4 + 0.2 * torch.rand(faces, 68, 2, generator=draws)
    return Batch(
        images=images,
        landmarks=landmarks,
        visible=torch.ones(faces, 68, dtype=torch.bool),
        crop_to_image=(64 * torch.eye(2, 3, dtype=torch.float64)).expand(faces, 2, 3),
        image_landmarks=64 * landmarks.double(),
        image_boxes=torch.tensor([0.0, 0.0, 64.0, 64.0], dtype=torch.float64).expand(faces, 4),
        indices=torch.arange(faces),
        is_padding=torch.zeros(faces, dtype=torch.bool),
        positions=torch.arange(faces),
        keys=[f"{seed}-{number}" for number in range(faces)],
        subsets=[() for _ in range(faces)],
    )


class Faces:
    """Batches in memory, other ones each epoch; a process of a group gets its share.

    Args:
        steps: Batches of an epoch.
        faces: Faces in a batch, over all processes.
    """

    def __init__(self, steps: int, faces: int) -> None:
        self.steps, self.faces = steps, faces
        self.epoch = self.step = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.step, self.steps):
            self.step = step + 1
            yield share(small_batch(self.faces, seed=1000 * self.epoch + step))
        self.epoch, self.step = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.step = epoch, 0

    def state_dict(self) -> dict[str, int | str]:
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        self.epoch, self.step = int(state["epoch"]), int(state["step"])


def share(batch: _AnyBatch) -> _AnyBatch:
    """This process's faces of a global batch."""
    size = len(batch) // world_size()
    mine = slice(rank() * size, (rank() + 1) * size)
    return type(batch)(**{field.name: getattr(batch, field.name)[mine] for field in fields(batch)})


class Hooked:
    """Hooks that call what they are given, and keep the metrics of all epochs."""

    def __init__(
        self,
        after_step: Callable[[TrainState], None] = lambda state: None,
        after_epoch: Callable[[TrainState, dict[str, float]], None] = lambda state, metrics: None,
    ) -> None:
        self._after_step, self._after_epoch = after_step, after_epoch
        self.metrics: list[dict[str, float]] = []

    def after_step(self, state: TrainState) -> None:
        self._after_step(state)

    def after_epoch(self, state: TrainState, metrics: dict[str, float]) -> None:
        self.metrics.append(metrics)
        self._after_epoch(state, metrics)

    def results(self) -> list[dict[str, float]]:
        """The metrics of all epochs, but how fast they were."""
        speeds = ("train/faces_per_second", "train/data_wait_fraction")
        return [{name: value for name, value in epoch.items() if name not in speeds} for epoch in self.metrics]
