"""Which faces make up which batch: pure functions of integers. Nothing here reads data.

Training shuffles within windows of whole shards, in a new order of shards each epoch. So an epoch of any size needs the
shards of two windows at a time, and planning it costs a few bytes a shard; a split that fits in one window is shuffled
as a whole.

batches = GlobalBatches(EpochOrder([256, 256, 31], seed=0, epoch=4, train=True), global_batch=32)
mine = batches[7].share(rank=1, world_size=4)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adodn.errors import ConfigError

WINDOW_FACES = 8192
"""Most benchmarks of faces fit in one, and are shuffled as a whole; its images take about a quarter of a gigabyte."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchPlan:
    """The faces of one batch, or of one rank's share of it; B of them."""

    indices: Integers
    """`[B]`, places in the split's manifest order."""
    is_padding: NDArray[np.bool_]
    """`[B]`, True for faces that are repeated only to fill the batch."""
    positions: Integers
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


def permutation(count: int, *seed: int) -> Integers:
    """`[count]`: 0 … count - 1 in an order that `seed` alone decides, in every release and on every machine.

    NumPy promises a bit generator's raw words for ever, but not what `Generator.permutation` makes of them; so the
    words are sorted here.
    """
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


class EpochOrder:
    """The order in which one epoch visits the faces of a split, each once, worked out a window at a time.

    The same on every machine and for any number of ranks. Not for use by several threads at once.

    Args:
        shard_faces: Faces in each shard of the split, in the manifest's order; at least one shard.
        seed: Seed of the experiment.
        epoch: Epoch, from 0.
        train: Whether to shuffle; else the order is the manifest's.
        window_faces: A window ends with the shard that fills it to as many faces.
    """

    def __init__(
        self, shard_faces: Sequence[int], *, seed: int, epoch: int, train: bool, window_faces: int = WINDOW_FACES
    ) -> None:
        faces = np.asarray(shard_faces, np.int64)
        self._seed, self._epoch, self._train = seed, epoch, train
        self._starts, self._faces = np.cumsum(faces) - faces, faces
        self._shards = permutation(len(faces), seed, epoch, 0) if train else np.arange(len(faces))
        ends = np.cumsum(faces[self._shards])
        self._num_samples = int(ends[-1])
        last = _last_of_windows(ends, window_faces)
        self._shard_ends, self._ends = last + 1, ends[last]
        self._kept: dict[int, Integers] = {}

    def __len__(self) -> int:
        return self._num_samples

    @property
    def num_windows(self) -> int:
        """Windows in the epoch."""
        return len(self._ends)

    def window_of(self, place: int) -> int:
        """The window in which the epoch visits its face number `place`."""
        return int(np.searchsorted(self._ends, place, side="right"))

    def shards(self, window: int) -> list[int]:
        """The shards whose faces make up a window, by their places in the manifest."""
        first = int(self._shard_ends[window - 1]) if window else 0
        shards: list[int] = self._shards[first : self._shard_ends[window]].tolist()
        return shards

    def indices(self, places: Integers) -> Integers:
        """`[B]`, places in the manifest's order of the faces that the epoch visits at `places` `[B]`."""
        windows = np.searchsorted(self._ends, places, side="right")
        found = np.empty_like(places)
        for window in np.unique(windows).tolist():
            here = windows == window
            start = int(self._ends[window - 1]) if window else 0
            found[here] = self._window(window)[places[here] - start]
        return found

    def _window(self, window: int) -> Integers:
        if window not in self._kept:
            shards = self.shards(window)
            runs = [np.arange(self._starts[s], self._starts[s] + self._faces[s]) for s in shards]
            faces = np.concatenate(runs)
            if self._train:
                faces = faces[permutation(len(faces), self._seed, self._epoch, 1 + window)]
            # A batch may reach from one window into the next, so two are kept.
            self._kept = {number: kept for number, kept in self._kept.items() if number == window - 1}
            self._kept[window] = faces
        return self._kept[window]


def _last_of_windows(ends: Integers, window_faces: int) -> Integers:
    """`[W]`: the last shard of each window, given the running number of faces `[N]` after each shard."""
    last, filled = [], 0
    while filled < ends[-1]:
        last.append(min(int(np.searchsorted(ends, filled + window_faces)), len(ends) - 1))
        filled = int(ends[last[-1]])
    return np.array(last, np.int64)


def num_steps(num_samples: int, global_batch: int, *, train: bool) -> int:
    """Batches in an epoch: whole ones only in training (but at least one), all faces in evaluation."""
    return max(1, num_samples // global_batch) if train else -(-num_samples // global_batch)


class Order(Protocol):
    """The order in which an epoch visits faces."""

    def __len__(self) -> int: ...
    def indices(self, places: Integers) -> Integers:
        """`[B]`, the faces that the epoch visits at `places` `[B]`."""
        ...


class GlobalBatches:
    """The global batches of one epoch, by step.

    Training leaves out the faces that do not fill a last batch; evaluation fills the last batch. A batch that the faces
    do not fill goes on from the epoch's first face, and says so in `is_padding`.

    Args:
        order: In which the epoch visits the faces.
        global_batch: Faces in a batch, over all ranks.
        train: Whether to leave out what does not fill a batch.
    """

    def __init__(self, order: Order, *, global_batch: int, train: bool) -> None:
        self._order, self._global_batch = order, global_batch
        self._steps = num_steps(len(order), global_batch, train=train)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> BatchPlan:
        if not 0 <= step < self._steps:
            raise IndexError(f"step must be in [0, {self._steps}), got {step}")
        positions = np.arange(self._global_batch, dtype=np.int64)
        places = positions + step * self._global_batch
        num_samples = len(self._order)
        return BatchPlan(
            indices=self._order.indices(places % num_samples), is_padding=places >= num_samples, positions=positions
        )
