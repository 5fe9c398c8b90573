"""SepBN in training: two processes against one, and a resumed run against one that was not stopped.

pytest tests/unit/test_sepbn_workers.py
"""

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adodn import models
from adodn.config import ExperimentConfig, ModelConfig, SepBNConfig, TrainConfig
from adodn.models.batch_norm import VirtualBatchNorm2d, running_buffers
from adodn.models.conversion import convert
from adodn.models.sepbn import SepBN2d, temperature_at
from adodn.samples import Batch
from adodn.train import checkpoint
from adodn.train.loop import fit
from adodn.train.peers import average_over_peers, rank, world_size
from adodn.train.state import TrainState, build_state
from tests.processes import together

FACES, STEPS = 8, 3


def network(aggregation: str) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3), VirtualBatchNorm2d(4, faces=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    ).append(nn.Linear(16, 2))
    convert(made, lambda norm: SepBN2d(norm.num_features, norm=norm, aggregation=aggregation))  # type: ignore[arg-type]
    return made.double()


def train(model: nn.Module, part: slice) -> None:
    """Steps of SGD on this worker's part of each global batch."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    draws = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        images = torch.randn(FACES, 3, 8, 8, generator=draws, dtype=torch.float64)
        target = torch.randn(FACES, 2, generator=draws, dtype=torch.float64)
        optimiser.zero_grad()
        (model(images[part]) - target[part]).square().mean().backward()
        optimiser.step()


def state_of(aggregation: str) -> dict[str, Tensor]:
    """What one of two workers comes to with half of every batch, its statistics averaged with the other's."""
    made, part = network(aggregation), FACES // world_size()
    first = rank() * part
    train(DistributedDataParallel(made, forward_sync_buffers=False), slice(first, first + part))
    average_over_peers(running_buffers(made))
    return dict(made.state_dict())


@pytest.mark.parametrize("aggregation", ["soft", "hard"])
def test_two_workers_train_what_one_trains(tmp_path: Path, aggregation: str) -> None:
    """Weights, attention and running statistics agree to fp64 rounding after some steps under DDP."""
    alone = network(aggregation)
    train(alone, slice(None))

    for state in together(partial(state_of, aggregation), tmp_path / "two"):
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(
                state[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}"
            )


CONFIG = ExperimentConfig(
    name="annealed",
    model=ModelConfig(
        backbone="mobilenet_v2",
        input_px=32,
        geometry="none",
        occlusion="none",
        low_rank=False,
        grid=1,
        batch_norm_faces=2,
        sepbn=SepBNConfig(placement="block_ends", temperature=9, temperature_epochs=3),
    ),
    train=TrainConfig(epochs=4, global_batch=2, early_stop_patience=50),
)


class Faces:
    """Batches of noise that stand where they were left."""

    def __init__(self, length: int) -> None:
        self.length, self.epoch, self.done = length, 0, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        while self.done < self.length:
            self.done += 1
            yield noise(100 * self.epoch + self.done)
        self.epoch, self.done = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.done = epoch, 0

    def state_dict(self) -> dict[str, int | str]:
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        self.epoch, self.done = int(state["epoch"]), int(state["done"])


def noise(seed: int, faces: int = 2) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    points = torch.rand(faces, 68, 2, generator=draws, dtype=torch.float64)
    return Batch(
        images=torch.randint(0, 256, (faces, 3, 32, 32), dtype=torch.uint8, generator=draws),
        landmarks=points.float(),
        visible=torch.ones(faces, 68, dtype=torch.bool),
        crop_to_image=torch.eye(2, 3, dtype=torch.float64).expand(faces, 2, 3),
        image_landmarks=points,
        image_boxes=torch.tensor([[0.0, 0.0, 1.0, 1.0]] * faces, dtype=torch.float64),
        indices=torch.arange(faces),
        is_padding=torch.zeros(faces, dtype=torch.bool),
        positions=torch.arange(faces),
        keys=[str(i) for i in range(faces)],
        subsets=[()] * faces,
    )


class Watch:
    """Notes the temperature of each step, and keeps the state of one of them as a checkpoint's bytes."""

    def __init__(self, keep_step: int | None = None) -> None:
        self.keep_step, self.kept = keep_step, io.BytesIO()
        self.temperatures: list[tuple[int, set[float]]] = []

    def after_step(self, state: TrainState) -> None:
        self.temperatures.append((state.epoch, temperatures(state.network)))
        if state.step == self.keep_step:
            torch.save(state.state_dict(), self.kept)

    def after_epoch(self, state: TrainState, metrics: dict[str, float]) -> None:
        pass


def temperatures(module: nn.Module) -> set[float]:
    return {layer.temperature for layer in module.modules() if isinstance(layer, SepBN2d)}


def fresh() -> TrainState:
    torch.manual_seed(0)
    made = models.build(CONFIG.model)
    return build_state(CONFIG, made, made, steps=2)


def test_the_loop_anneals_and_a_resumed_run_goes_on_exactly() -> None:
    """τ is that of each epoch in all layers; stopped in mid-annealing and resumed, weights end bit by bit the same."""
    watch = Watch(keep_step=3)  # in the middle of the second epoch
    calm = fit(fresh(), Faces(2), Faces(1), watch)

    watch.kept.seek(0)
    state = fresh()
    state.load_state_dict(checkpoint.read(watch.kept, "kept"))
    assert temperatures(state.network) == {temperature_at(1, 9, 3)}
    resumed = fit(state, Faces(2), Faces(1), again := Watch())

    annealed = [(epoch, {temperature_at(epoch, 9, 3)}) for epoch in range(4) for _ in range(2)]
    assert [value for _, values in annealed for value in values] == [9, 9, 5, 5, 1, 1, 1, 1]
    assert watch.temperatures == annealed
    assert again.temperatures == annealed[3:]
    pairs = zip(calm.network.state_dict().values(), resumed.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_models_answer_includes_its_temperature() -> None:
    """Weights saved at a temperature answer the same after loading into a new network, which begins at another."""
    build = partial(models.build, CONFIG.model)
    hot, images = build(), noise(0).images
    for layer in hot.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # so that one batch is enough to make the maps of a usual size
        if isinstance(layer, SepBN2d):
            layer.temperature = 9
            layer.weight.data.mul_(torch.rand_like(layer.weight) + 0.5)
    hot.train()(noise(1).images)
    hot.eval()
    loaded = build().eval()
    loaded.load_state_dict(hot.state_dict())

    answer: Tensor = hot(images).landmarks
    assert torch.equal(loaded(images).landmarks, answer)
    for layer in loaded.modules():
        if isinstance(layer, SepBN2d):
            layer.temperature = 0.1
    assert not torch.equal(loaded(images).landmarks, answer)
