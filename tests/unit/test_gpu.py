"""What only a GPU can show: a step that does not wait for it, values that come late, its precision, and pinned batches.

pytest tests/unit/test_gpu.py
"""

import math
from dataclasses import replace

import pytest
import torch

from adodn.errors import TrainingDivergedError
from adodn.train.determinism import prepare_process
from adodn.train.loop import fit
from adodn.train.state import TrainState, build_state
from tests.memory_training import Faces, Hooked, small_batch, small_config, small_network

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def state_on(device: str) -> TrainState:
    """The same training on a processor or a GPU."""
    config = small_config()
    network = small_network(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return build_state(config, network, network, 3)


def test_a_gpu_trains_what_a_processor_trains() -> None:
    """In double precision all metrics agree to 1e-8."""
    told = []
    for device in ("cpu", "cuda"):
        hooks, state = Hooked(), state_on(device)
        fit(state, Faces(3, 8), Faces(2, 8), hooks)
        told.append(hooks.results())

    for ours, theirs in zip(*told, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-8)


def test_a_gpus_fp32_is_fp32() -> None:
    """In a process that trains, a convolution agrees with double precision to 1e-5; in TF32 to a few 1e-4 only."""
    prepare_process(small_config().train)
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(4, 64, 16, 16, generator=draws, dtype=torch.float64)
    kernels = torch.randn(64, 64, 3, 3, generator=draws, dtype=torch.float64)
    exact = torch.nn.functional.conv2d(images, kernels)

    found = torch.nn.functional.conv2d(images.float().cuda(), kernels.float().cuda()).cpu().double()

    assert float((found - exact).norm() / exact.norm()) < 1e-5


def test_a_gpu_reads_values_a_step_late() -> None:
    """A bad step is told by the next one, and its weights stay finite."""
    state = state_on("cuda")
    assert state.readings.lag == 1

    class Bad(Faces):
        def __iter__(self):  # type: ignore[no-untyped-def]
            for step, batch in enumerate(super().__iter__()):
                yield replace(batch, landmarks=batch.landmarks * math.nan) if step == 1 else batch

    with pytest.raises(TrainingDivergedError, match=r"at step 1 \(epoch 0\)"):
        fit(state, Bad(5, 8), Faces(1, 8), Hooked())
    assert all(bool(parameter.isfinite().all()) for parameter in state.network.parameters())


def test_pinned_batches_are_the_same_batches() -> None:
    """Layout and values stay; what a step sends to the GPU is pinned."""
    batch = small_batch(4)
    pinned = batch.pin_memory()

    assert pinned.images.is_pinned() and pinned.landmarks.is_pinned()
    assert pinned.images.stride() == batch.images.stride()
    assert torch.equal(pinned.images, batch.images) and torch.equal(pinned.landmarks, batch.landmarks)
