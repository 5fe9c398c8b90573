"""Which faces make up which batch: pure functions of integers. Nothing here reads data or keeps state.

batches = GlobalBatches(num_samples=3148, global_batch=32, seed=0, epoch=4, train=True)
mine = batches[7].share(rank=1, world_size=4)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adodn.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchPlan:
    """The faces of one batch, or of one rank's share of it; B of them."""

    indices: NDArray[np.int64]
    """`[B]`, places in the split's manifest order."""
    is_padding: NDArray[np.bool_]
    """`[B]`, True for faces that are repeated only to fill the batch."""
    positions: NDArray[np.int64]
    """`[B]`, places in the global batch."""

    def share(self, rank: int, world_size: int) -> "BatchPlan":
        """The run of faces that one rank takes.

        Runs are contiguous, not strided: batch norm takes its statistics over fixed runs of faces of the global batch,
        so a run must never be spread over ranks.

        Raises:
            ConfigError: If the batch cannot be cut evenly.
            ValueError: If there is no such rank.
        """
        require_share(len(self.indices), rank, world_size)
        size = len(self.indices) // world_size
        mine = slice(rank * size, (rank + 1) * size)
        return BatchPlan(indices=self.indices[mine], is_padding=self.is_padding[mine], positions=self.positions[mine])


def require_share(global_batch: int, rank: int, world_size: int) -> None:
    """Check that a global batch can be cut into equal runs, and that the rank has one.

    Raises:
        ConfigError: If the batch cannot be cut evenly.
        ValueError: If there is no such rank.
    """
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(f"rank must be in [0, world_size), got rank {rank} of world_size {world_size}")
    if global_batch < 1 or global_batch % world_size:
        raise ConfigError(
            f"global_batch must be a positive multiple of world_size, got {global_batch} over {world_size} ranks; "
            "change one of them"
        )


def epoch_order(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """`[num_samples]`: the order in which one epoch of training visits the faces, each once.

    The same on every machine and for any number of ranks. NumPy promises a bit generator's raw words for ever, but not
    what `Generator.permutation` makes of them; so the words are sorted here.
    """
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(num_samples)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def num_steps(num_samples: int, global_batch: int, *, train: bool) -> int:
    """Batches in an epoch: whole ones only in training (but at least one), all faces in evaluation."""
    return max(1, num_samples // global_batch) if train else -(-num_samples // global_batch)


class GlobalBatches:
    """The global batches of one epoch, by step.

    Training shuffles, and leaves out the faces that do not fill a last batch. Evaluation keeps the manifest's order and
    fills the last batch. A batch that the faces do not fill goes on from the epoch's first face, and says so in
    `is_padding`.

    Args:
        num_samples: Faces in the split, at least 1.
        global_batch: Faces in a batch, over all ranks.
        seed: Seed of the experiment.
        epoch: Epoch, from 0.
        train: Whether to shuffle.
    """

    def __init__(self, *, num_samples: int, global_batch: int, seed: int, epoch: int, train: bool) -> None:
        self._order = epoch_order(num_samples, seed, epoch) if train else np.arange(num_samples, dtype=np.int64)
        self._global_batch = global_batch
        self._steps = num_steps(num_samples, global_batch, train=train)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> BatchPlan:
        if not 0 <= step < self._steps:
            raise IndexError(f"step must be in [0, {self._steps}), got {step}")
        positions = np.arange(self._global_batch, dtype=np.int64)
        places = positions + step * self._global_batch
        num_samples = len(self._order)
        return BatchPlan(
            indices=self._order[places % num_samples], is_padding=places >= num_samples, positions=positions
        )
