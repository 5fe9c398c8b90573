"""A machine that runs out of memory, by Ray's own measure.

pytest tests/chaos/test_memory.py
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from infra.stack import StackInfo
from tests.chaos.nodes import begin, calm, epoch_of, node
from tests.training_runs import finished, losses, small_dataset, tracked, wait_until

pytestmark = pytest.mark.integration

CHANGES: dict[str, object] = {"train.precision": "fp64", "train.epochs": 3}
ROOM_BYTES = 8 * 2**30
"""What the training may take, and whatever else the machine does: about twice as much as it needs."""


@contextmanager
def used_bytes(wanted: int) -> Iterator[None]:
    """Hold as much memory as it takes for so much of the machine's to be used."""
    memory = psutil.virtual_memory()
    held = np.ones(max(wanted - (memory.total - memory.available), 0), dtype=np.uint8)
    yield
    del held


def test_a_worker_that_ray_ends_for_want_of_memory_is_started_anew(stack: StackInfo) -> None:
    """Fault 29: Ray's monitor of memory ends the worker on a machine that is full; the losses are the same."""
    dataset_uri = small_dataset(num_train=96)
    memory = psutil.virtual_memory()
    most = memory.total - memory.available + ROOM_BYTES
    if memory.available < 1.5 * ROOM_BYTES:
        pytest.skip(
            f"this machine has {memory.available / 2**30:.0f} GiB free, {1.5 * ROOM_BYTES / 2**30:.0f} are needed"
        )
    with node(stack.home, RAY_memory_usage_threshold=f"{most / memory.total:.3f}") as small:
        process = begin(dataset_uri, "memory", CHANGES, num_workers=2)
        wait_until(lambda: small.workers() and epoch_of("memory"), "an epoch of two workers")
        (before,) = small.workers()
        with used_bytes(most + ROOM_BYTES // 4):
            wait_until(lambda: before not in small.workers(), "the end of the worker")
        outcome = finished(process)

    assert losses(outcome) == pytest.approx(losses(calm(dataset_uri, "memory-calm", CHANGES)), rel=1e-9)
    assert len(tracked("memory")) == 1
