"""Several datasets of different protocols as one: each face once an epoch, in an order that mixes them all.

A face drawn anywhere in an epoch is of a dataset with a probability in proportion to its size, as cross-protocol
training has it (CNT, SepBN §IV). What happens to a face is its own dataset's `ShardLoader`'s affair.

    parts = [ShardLoader(…, seed=part_seed(seed, number), train=True) for number in range(2)]
    loader = MixtureLoader(parts, branches=[0, 1], global_batch=8, rank=0, world_size=1, seed=seed)
    for batch in loader:                  # `MixedBatch`, one epoch
        batch.branches
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import itemgetter

import numpy as np
import torch
from torch.nn import functional as F

from adodn.data.epochs import EpochLoader, Job
from adodn.data.loader import ShardLoader
from adodn.data.partition import BatchPlan, EpochOrder, GlobalBatches, Integers, num_steps, permutation, require_share
from adodn.data.transforms import Image
from adodn.samples import Batch, MixedBatch


def part_seed(seed: int, number: int) -> int:
    """The seed of one dataset of a mixture, so that faces of two datasets are never augmented alike."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0] >> 1)


class MixtureOrder:
    """The order in which one epoch visits the faces of several datasets, each once.

    Within a dataset it is the dataset's own order; which dataset comes when is one shuffle of as many places as there
    are faces, at nine bytes a face. A face is known by its place in the datasets' manifest orders, one dataset after
    another. The same on every machine and for any number of ranks; not for several threads at once.

    Args:
        parts: The datasets' orders in this epoch.
        seed: Seed of the experiment.
        epoch: Epoch, from 0.
    """

    def __init__(self, parts: Sequence[EpochOrder], *, seed: int, epoch: int) -> None:
        self._parts = parts
        sizes = [len(part) for part in parts]
        self._starts = np.cumsum([0, *sizes])
        labels = np.repeat(np.arange(len(parts), dtype=np.uint8), sizes)
        self._which = labels[permutation(len(labels), seed, epoch)]
        self._visits = [np.flatnonzero(self._which == number) for number in range(len(parts))]

    def __len__(self) -> int:
        return len(self._which)

    def indices(self, places: Integers) -> Integers:
        """`[B]`, the faces that the epoch visits at `places` `[B]`."""
        found = np.empty_like(places)
        for number, part in enumerate(self._parts):
            here = self._which[places] == number
            turns = np.searchsorted(self._visits[number], places[here])
            found[here] = self._starts[number] + part.indices(turns)
        return found

    def reached(self, place: int) -> list[int]:
        """How many faces of each dataset the epoch visits before `place`."""
        return [int(np.searchsorted(visits, place)) for visits in self._visits]

    def part_of(self, indices: Integers) -> Integers:
        """`[B]`, the dataset of each face of `indices` `[B]`."""
        return np.searchsorted(self._starts, indices, side="right") - 1

    def start(self, number: int) -> int:
        """The place of a dataset's first face."""
        return int(self._starts[number])


class MixtureLoader(EpochLoader[MixedBatch]):
    """Training batches from several datasets, on one rank. Leaves out the faces that do not fill a last batch.

    Args:
        parts: Training loaders of the datasets, each with a seed of its own (`part_seed`) and the same side of crops;
            they prepare faces, and are not iterated.
        branches: For each dataset, the branch that its faces take.
        global_batch: Faces in a batch, over all ranks.
        rank: This rank.
        world_size: Number of ranks.
        seed: Seed of the experiment.
        num_threads: Threads that prepare batches.
        prefetch: Batches kept ready ahead of the consumer.
        pin_memory: Whether those threads also put batches where a GPU can fetch them.

    Raises:
        ConfigError: If the batch cannot be shared.
    """

    def __init__(
        self,
        parts: Sequence[ShardLoader],
        *,
        branches: Sequence[int],
        global_batch: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        num_threads: int = 1,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        require_share(global_batch, rank, world_size)
        together = "+".join(part.dataset for part in parts)
        super().__init__(
            dataset=together,
            seed=seed,
            global_batch=global_batch,
            num_threads=num_threads,
            prefetch=prefetch,
            pin_memory=pin_memory,
        )
        self._parts, self._branches = list(parts), np.array(branches, np.int64)
        self._rank, self._world_size = rank, world_size
        self._most_landmarks = max(part.faces.num_landmarks for part in parts)

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return num_steps(sum(len(part.faces) for part in self._parts), self._global_batch, train=True)

    def _jobs(self, epoch: int, start: int, fetchers: ThreadPoolExecutor) -> Iterator[Job[MixedBatch]]:
        orders = [part.order(epoch) for part in self._parts]
        mixture = MixtureOrder(orders, seed=self._seed, epoch=epoch)
        batches = GlobalBatches(mixture, global_batch=self._global_batch, train=True)
        side = self._parts[0].input_px
        begun = mixture.reached(start * self._global_batch)
        next_windows = [order.window_of(place) for order, place in zip(orders, begun, strict=True)]
        for step in range(start, len(batches)):
            reached = mixture.reached(min((step + 1) * self._global_batch, len(mixture)))
            for number, part in enumerate(self._parts):
                last = max(reached[number] - 1, 0)
                next_windows[number] = part.fetch(orders[number], next_windows[number], last, fetchers)
            share = batches[step].share(self._rank, self._world_size)
            images = np.empty((len(share.indices), side, side, 3), np.uint8)
            # One part: crops are put into order as they leave it, and to join parts would be to copy them once more.
            make = partial(self._batch, share, mixture.part_of(share.indices), mixture.start, epoch, images)
            yield Job([make], itemgetter(0))

    def _batch(
        self, share: BatchPlan, datasets: Integers, start: Callable[[int], int], epoch: int, images: Image
    ) -> MixedBatch:
        """The faces of a share, prepared dataset by dataset and put back into its order."""
        grouped, made, done = np.argsort(datasets, kind="stable"), [], 0
        for number in np.unique(datasets).tolist():
            own = np.flatnonzero(datasets == number)
            plan = BatchPlan(
                indices=share.indices[own] - start(number),
                is_padding=share.is_padding[own],
                positions=share.positions[own],
            )
            made.append(self._parts[number].prepare(plan, epoch, images[done : done + len(own)]))
            done += len(own)
        back = np.argsort(grouped)
        return _merged(made, back, images, share, self._branches[datasets], self._most_landmarks)


def _merged(
    made: Sequence[Batch], back: Integers, images: Image, share: BatchPlan, branches: Integers, most: int
) -> MixedBatch:
    """Batches of single datasets as one; face i of it is number `back[i]` of theirs, one batch after another."""
    order = torch.from_numpy(back)

    def joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(tensors))[order]

    keys = [key for batch in made for key in batch.keys]
    subsets = [names for batch in made for names in batch.subsets]
    return MixedBatch(
        images=torch.from_numpy(images[back]).permute(0, 3, 1, 2),
        landmarks=joined([F.pad(batch.landmarks, (0, 0, 0, most - batch.landmarks.shape[1])) for batch in made]),
        visible=joined([F.pad(batch.visible, (0, most - batch.visible.shape[1])) for batch in made]),
        crop_to_image=joined([batch.crop_to_image for batch in made]),
        image_landmarks=joined(
            [F.pad(batch.image_landmarks, (0, 0, 0, most - batch.image_landmarks.shape[1])) for batch in made]
        ),
        image_boxes=joined([batch.image_boxes for batch in made]),
        indices=torch.from_numpy(share.indices.copy()),
        is_padding=torch.from_numpy(share.is_padding.copy()),
        positions=torch.from_numpy(share.positions.copy()),
        keys=[keys[place] for place in back],
        subsets=[subsets[place] for place in back],
        branches=torch.from_numpy(branches),
    )
