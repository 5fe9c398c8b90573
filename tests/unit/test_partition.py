"""Orders and shares against values written down by hand."""

import numpy as np
import pytest

from adodn.data.partition import EpochOrder, GlobalBatches, num_steps, permutation, require_share
from adodn.errors import ConfigError


def batches(num_samples: int, global_batch: int, *, train: bool, epoch: int = 0) -> GlobalBatches:
    return GlobalBatches(order(num_samples, epoch=epoch, train=train), global_batch=global_batch, train=train)


def order(num_samples: int, *, seed: int = 3, epoch: int = 0, train: bool = True) -> EpochOrder:
    return EpochOrder([num_samples], seed=seed, epoch=epoch, train=train)


def visited(epoch: EpochOrder) -> list[int]:
    return epoch.indices(np.arange(len(epoch))).tolist()


def test_the_order_never_changes() -> None:
    """Same seed and epoch, same order, in every release: a stored fingerprint promises it."""
    assert permutation(10, 7, 2).tolist() == [8, 6, 4, 0, 5, 7, 1, 3, 9, 2]
    shuffled = EpochOrder([3, 4, 5], seed=7, epoch=2, train=True, window_faces=6)
    assert visited(shuffled) == [2, 1, 6, 4, 0, 5, 3, 8, 7, 11, 9, 10]


def test_epochs_and_seeds_shuffle_anew() -> None:
    """Another epoch and another seed each give another order."""
    orders = {tuple(visited(order(50, seed=seed, epoch=epoch))) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_windows_are_whole_shards() -> None:
    """Shards of 4, 4, 1 and 9 faces in windows of 5 and more: two shards, the next two, none cut and none left out."""
    plain = EpochOrder([4, 4, 1, 9], seed=0, epoch=0, train=False, window_faces=5)
    assert [plain.shards(window) for window in range(plain.num_windows)] == [[0, 1], [2, 3]]
    assert [plain.window_of(place) for place in (0, 7, 8, 17)] == [0, 0, 1, 1]


def test_a_window_visits_its_own_shards_alone() -> None:
    """In training, the faces of a window are those of its shards, shuffled over all of them."""
    epoch = EpochOrder([50] * 8, seed=1, epoch=5, train=True, window_faces=100)
    places = visited(epoch)
    for window in range(4):
        faces = places[100 * window : 100 * window + 100]
        assert sorted({face // 50 for face in faces}) == sorted(epoch.shards(window))
        assert len({face // 50 for face in faces[:20]}) == 2


def test_ranks_take_contiguous_runs() -> None:
    """Rank r of w takes run r of the global batch cut into w runs."""
    share = batches(12, 6, train=False)[1].share(rank=1, world_size=3)
    assert share.indices.tolist() == [8, 9]
    assert share.positions.tolist() == [2, 3]
    assert share.is_padding.tolist() == [False, False]


def test_evaluation_fills_the_last_batch_from_the_first_faces() -> None:
    """Five faces in batches of four: the second batch is the last face and three repeated ones that say so."""
    last = batches(5, 4, train=False)[1]
    assert last.indices.tolist() == [4, 0, 1, 2]
    assert last.is_padding.tolist() == [False, True, True, True]


def test_training_leaves_out_what_fills_no_batch() -> None:
    """Eleven faces in batches of four make two batches of eight different faces."""
    epoch = batches(11, 4, train=True)
    seen = np.concatenate([epoch[step].indices for step in range(len(epoch))])
    assert len(epoch) == 2
    assert len(set(seen.tolist())) == 8


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    """Three faces in batches of eight train as one batch that goes round and round."""
    epoch = batches(3, 8, train=True)
    assert len(epoch) == 1
    assert epoch[0].indices.tolist() == np.resize(visited(order(3)), 8).tolist()
    assert epoch[0].is_padding.tolist() == [False] * 3 + [True] * 5


@pytest.mark.parametrize(("faces", "train", "steps"), [(8, True, 2), (9, True, 2), (8, False, 2), (9, False, 3)])
def test_steps_of_an_epoch(faces: int, train: bool, steps: int) -> None:
    """Training counts whole batches, evaluation all faces."""
    assert num_steps(faces, 4, train=train) == steps


@pytest.mark.parametrize(("batch", "rank", "ranks"), [(6, 0, 4), (0, 0, 1), (-2, 0, 1)])
def test_a_batch_that_cannot_be_shared_is_refused(batch: int, rank: int, ranks: int) -> None:
    """A global batch that is not a positive multiple of the ranks is a ConfigError that names both."""
    with pytest.raises(ConfigError, match=rf"multiple of world_size, got {batch} over {ranks}"):
        require_share(batch, rank, ranks)


@pytest.mark.parametrize(("rank", "ranks"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_that_does_not_exist_is_refused(rank: int, ranks: int) -> None:
    """A rank outside the world is a mistake of the caller."""
    with pytest.raises(ValueError, match=rf"got rank {rank} of world_size {ranks}"):
        require_share(4, rank, ranks)


@pytest.mark.parametrize("step", [-1, 2])
def test_a_step_outside_the_epoch_does_not_exist(step: int) -> None:
    """Steps are counted from 0 and never from the end."""
    with pytest.raises(IndexError, match=str(step)):
        batches(8, 4, train=True)[step]
