"""Laws of mixed datasets: every face once, in proportion, the same for any number of ranks, resumable anywhere.

pytest tests/property/test_mixture_laws.py
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adodn.data.mixture import MixtureOrder, part_seed
from adodn.data.partition import EpochOrder, GlobalBatches
from adodn.errors import CheckpointError, ConfigError
from adodn.samples import Batch, MixedBatch
from tests.mixed_folders import Folder, mixture_of_folders, parts_of, two_folders

unhurried = settings(deadline=None)
datasets = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=5), min_size=1, max_size=4)
seeds = st.integers(0, 2**31 - 1)


def mixture_of(sizes: list[list[int]], seed: int, epoch: int, window: int = 50) -> MixtureOrder:
    parts = [
        EpochOrder(shards, seed=part_seed(seed, number), epoch=epoch, train=True, window_faces=window)
        for number, shards in enumerate(sizes)
    ]
    return MixtureOrder(parts, seed=seed, epoch=epoch)


@unhurried
@given(sizes=datasets, seed=seeds, epoch=st.integers(0, 500), window=st.integers(1, 60))
def test_an_epoch_visits_every_face_once(sizes: list[list[int]], seed: int, epoch: int, window: int) -> None:
    """Over all datasets each face comes exactly once, so a dataset's share of an epoch is its share of the faces."""
    order = mixture_of(sizes, seed, epoch, window)
    visited = order.indices(np.arange(len(order)))
    assert sorted(visited.tolist()) == list(range(sum(map(sum, sizes))))
    counts = np.bincount(order.part_of(visited), minlength=len(sizes))
    assert counts.tolist() == [sum(shards) for shards in sizes]


@unhurried
@given(sizes=datasets, seed=seeds, places=st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_a_turn_does_not_depend_on_how_it_is_asked_for(sizes: list[list[int]], seed: int, places: list[int]) -> None:
    """A face's turn is a function of (seed, epoch) alone: asked for alone, in any company, or after any other."""
    wanted = np.array(places) % sum(map(sum, sizes))
    order = mixture_of(sizes, seed, 1)
    whole = order.indices(np.arange(len(order)))
    asked = mixture_of(sizes, seed, 1)
    assert asked.indices(wanted).tolist() == whole[wanted].tolist()
    assert [asked.indices(place[None]).item() for place in wanted] == whole[wanted].tolist()


@unhurried
@given(sizes=datasets, seed=seeds, place=st.integers(0, 10**6))
def test_within_a_dataset_the_order_is_its_own(sizes: list[list[int]], seed: int, place: int) -> None:
    """Left to one dataset's faces, the mixture is that dataset's order, and `reached` counts how far each has come."""
    order = mixture_of(sizes, seed, 2)
    visited = order.indices(np.arange(len(order)))
    parts = order.part_of(visited)
    place %= len(order) + 1
    for number, shards in enumerate(sizes):
        own = EpochOrder(shards, seed=part_seed(seed, number), epoch=2, train=True, window_faces=50)
        mine = visited[parts == number] - order.start(number)
        assert mine.tolist() == own.indices(np.arange(sum(shards))).tolist()
        assert order.reached(place)[number] == int((parts[:place] == number).sum())


@unhurried
@given(sizes=datasets, seed=seeds, world_size=st.integers(1, 4), share=st.integers(1, 6))
def test_ranks_share_what_one_rank_would_take(sizes: list[list[int]], seed: int, world_size: int, share: int) -> None:
    """The ranks' equal shares, one after another, are the global batch, whatever the number of ranks."""
    batches = GlobalBatches(mixture_of(sizes, seed, 0), global_batch=share * world_size, train=True)
    for step in range(len(batches)):
        shares = [batches[step].share(rank, world_size).indices for rank in range(world_size)]
        assert {len(part) for part in shares} == {share}
        assert np.concatenate(shares).tolist() == batches[step].indices.tolist()


def test_datasets_come_in_proportion_all_along() -> None:
    """In any tenth of many epochs each dataset has about its share of the faces: drawn, not dealt out in turn."""
    sizes = [[100], [300], [600]]
    shares = np.zeros((10, 3))
    for epoch in range(60):
        order = mixture_of(sizes, 7, epoch)
        parts = order.part_of(order.indices(np.arange(1000)))
        shares += [np.bincount(tenth, minlength=3) / 100 / 60 for tenth in parts.reshape(10, 100)]
    assert np.abs(shares - [0.1, 0.3, 0.6]).max() < 0.025
    assert (
        mixture_of(sizes, 7, 0).indices(np.arange(50)).tolist()
        != mixture_of(sizes, 8, 0).indices(np.arange(50)).tolist()
    )


def test_parts_have_seeds_of_their_own() -> None:
    """Seeds of parts are in range and differ between parts and between seeds."""
    found = {part_seed(seed, number) for seed in range(20) for number in range(5)}
    assert len(found) == 100 and all(0 <= seed < 2**31 for seed in found)


TENSORS = (
    "images",
    "landmarks",
    "visible",
    "crop_to_image",
    "image_landmarks",
    "image_boxes",
    "indices",
    "positions",
    "is_padding",
    "branches",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Folder]:
    return two_folders(tmp_path_factory.mktemp("wide"), tmp_path_factory.mktemp("narrow"))


def same(a: MixedBatch, b: MixedBatch) -> bool:
    return a.keys == b.keys and all(torch.equal(getattr(a, name), getattr(b, name)) for name in TENSORS)


def test_a_face_is_what_its_own_dataset_makes_of_it(folders: list[Folder]) -> None:
    """Pixels, landmarks and all else of every face are those of its dataset's loader alone, padded by zeros."""
    alone: dict[str, tuple[Batch, int]] = {}
    for part in parts_of(folders, seed=3):
        part.set_epoch(2)
        alone |= {batch.keys[0]: (batch, len(batch.landmarks[0])) for batch in part}
    mixture = mixture_of_folders(folders, seed=3)
    mixture.set_epoch(2)
    batches = list(mixture)
    assert len(batches) == len(mixture) == 5
    seen = [key for batch in batches for key in batch.keys]
    assert len(set(seen)) == len(seen) == 30 and set(seen) < set(alone)
    for batch in batches:
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        for face, key in enumerate(batch.keys):
            own, count = alone[key]
            assert int(batch.branches[face]) == (1 if count == 68 else 0)
            for name in ("images", "crop_to_image", "image_boxes"):
                assert torch.equal(getattr(batch, name)[face], getattr(own, name)[0]), name
            for name in ("landmarks", "visible", "image_landmarks"):
                assert torch.equal(getattr(batch, name)[face, :count], getattr(own, name)[0]), name
                assert not getattr(batch, name)[face, count:].any()
            assert batch.subsets[face] == own.subsets[0]
            start = 0 if count == 68 else 23
            assert int(batch.indices[face]) == start + int(own.indices[0])


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_see_what_one_rank_sees(folders: list[Folder], world_size: int) -> None:
    """Pixels, landmarks, branches and order over all ranks are those of one rank, and their batches are as many."""
    alone = mixture_of_folders(folders, seed=5)
    loaders = [mixture_of_folders(folders, seed=5, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(loader) for loader in loaders} == {len(alone)}
    for whole, *parts in zip(alone, *loaders, strict=True):
        for name in TENSORS:
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
        assert [key for part in parts for key in part.keys] == whole.keys


@settings(max_examples=10, deadline=None)
@given(done=st.integers(0, 6), epoch=st.integers(0, 9), ranks=st.sampled_from([1, 2]))
def test_resuming_anywhere_yields_the_tail(folders: list[Folder], done: int, epoch: int, ranks: int) -> None:
    """A state taken at any step, on any number of ranks, is gone on from on another number with the very same faces."""
    whole_loader = mixture_of_folders(folders)
    whole_loader.set_epoch(epoch)
    whole = list(whole_loader)
    first = mixture_of_folders(folders, world_size=ranks)
    first.set_epoch(epoch)
    done = min(done, len(whole))
    for _, _ in zip(range(done), first, strict=False):
        pass
    after = mixture_of_folders(folders)
    after.load_state_dict(first.state_dict())
    rest = list(after)
    assert len(rest) == len(whole) - done
    assert all(same(a, b) for a, b in zip(rest, whole[done:], strict=True))
    assert after.epoch == epoch + 1


def test_a_state_of_another_mixture_is_refused(folders: list[Folder]) -> None:
    """Other datasets, or the same in another order, are not gone on with."""
    state = mixture_of_folders(folders).state_dict()
    with pytest.raises(CheckpointError, match="dataset"):
        mixture_of_folders(folders[:1]).load_state_dict(state)
    with pytest.raises(CheckpointError, match="dataset"):
        mixture_of_folders(folders[::-1]).load_state_dict(state)


def test_a_batch_that_cannot_be_shared_is_refused(folders: list[Folder]) -> None:
    """Six faces do not go round four ranks."""
    with pytest.raises(ConfigError, match="multiple of world_size"):
        mixture_of_folders(folders, world_size=4)
