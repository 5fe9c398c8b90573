"""Laws of the loader that hold for any number of faces, ranks and augmentations."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adodn.config import AugmentConfig
from adodn.data.manifest import Manifest
from adodn.data.partition import EpochOrder, GlobalBatches
from adodn.data.transforms import (
    NUM_DRAWS,
    Affine,
    crop_affine,
    draw_augmentation,
    invert,
    move,
    sample_draws,
    warp,
)
from tests.shard_folder import loader_of, same, write_dataset

unhurried = settings(deadline=None)
shards = st.lists(st.integers(1, 40), min_size=1, max_size=12)
windows = st.integers(1, 100)
ranks = st.integers(1, 6)
seeds = st.integers(0, 2**31 - 1)
draws_of_a_face = st.lists(st.floats(0, 1, exclude_max=True), min_size=NUM_DRAWS, max_size=NUM_DRAWS)


def augmented(draws: list[float], box: tuple[float, float, float, float], crop_scale: float) -> Affine:
    chosen = draw_augmentation(AugmentConfig(), np.array([draws]))
    affine: Affine = crop_affine(np.array([box]), crop_scale=crop_scale, augmentation=chosen)[0]
    return affine


def mixed(word: int) -> int:
    """SplitMix64's output function in whole numbers."""
    word %= 2**64
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    return word ^ word >> 31


def batches_of(
    faces: list[int], global_batch: int, *, train: bool, seed: int = 0, epoch: int = 0, window: int = 50
) -> GlobalBatches:
    order = EpochOrder(faces, seed=seed, epoch=epoch, train=train, window_faces=window)
    return GlobalBatches(order, global_batch=global_batch, train=train)


@unhurried
@given(faces=shards, window=windows, seed=seeds, epoch=st.integers(0, 500), train=st.booleans())
def test_an_order_is_a_permutation(faces: list[int], window: int, seed: int, epoch: int, train: bool) -> None:
    """An epoch visits every face exactly once, in windows of whole shards."""
    order = EpochOrder(faces, seed=seed, epoch=epoch, train=train, window_faces=window)
    assert sorted(order.indices(np.arange(sum(faces))).tolist()) == list(range(sum(faces)))
    assert sorted(shard for number in range(order.num_windows) for shard in order.shards(number)) == list(
        range(len(faces))
    )


@unhurried
@given(faces=shards, window=windows, seed=seeds, places=st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_an_order_does_not_depend_on_how_it_is_asked(
    faces: list[int], window: int, seed: int, places: list[int]
) -> None:
    """A face's turn is the same whether it is asked for alone, in any company, or after any other."""
    wanted = np.array(places) % sum(faces)
    whole = EpochOrder(faces, seed=seed, epoch=1, train=True, window_faces=window).indices(np.arange(sum(faces)))
    asked = EpochOrder(faces, seed=seed, epoch=1, train=True, window_faces=window)
    assert asked.indices(wanted).tolist() == whole[wanted].tolist()
    assert [asked.indices(place[None]).item() for place in wanted] == whole[wanted].tolist()


@unhurried
@given(faces=shards, window=windows, world_size=ranks, share=st.integers(1, 8), train=st.booleans(), seed=seeds)
def test_ranks_share_what_one_rank_would_take(
    faces: list[int], window: int, world_size: int, share: int, train: bool, seed: int
) -> None:
    """The ranks' shares, one after another, are the global batch, whatever the number of ranks."""
    epoch = batches_of(faces, share * world_size, train=train, seed=seed, epoch=1, window=window)
    for step in range(len(epoch)):
        shares = [epoch[step].share(rank, world_size) for rank in range(world_size)]
        for name in ("indices", "is_padding", "positions"):
            joined = np.concatenate([getattr(one, name) for one in shares])
            assert np.array_equal(joined, getattr(epoch[step], name))


@unhurried
@given(faces=shards, window=windows, global_batch=st.integers(1, 40))
def test_evaluation_counts_every_face_once(faces: list[int], window: int, global_batch: int) -> None:
    """Without padding, an epoch of evaluation is every face exactly once."""
    epoch = batches_of(faces, global_batch, train=False, window=window)
    plans = [epoch[step] for step in range(len(epoch))]
    real = np.concatenate([plan.indices[~plan.is_padding] for plan in plans])
    assert real.tolist() == list(range(sum(faces)))


@unhurried
@given(faces=shards, window=windows, global_batch=st.integers(1, 40), seed=seeds)
def test_training_repeats_no_face(faces: list[int], window: int, global_batch: int, seed: int) -> None:
    """No face comes twice in an epoch of training, but to fill the only batch; and fewer than a batch are left out."""
    epoch = batches_of(faces, global_batch, train=True, seed=seed, window=window)
    real = np.concatenate([plan.indices[~plan.is_padding] for plan in (epoch[step] for step in range(len(epoch)))])
    assert len(set(real.tolist())) == len(real)
    assert sum(faces) - len(real) < global_batch


@unhurried
@given(seed=seeds, epoch=st.integers(0, 10**6), indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=9))
def test_draws_of_a_face_are_its_own(seed: int, epoch: int, indices: list[int]) -> None:
    """A face's random numbers are those that it has alone, lie from 0 to below 1, and follow SplitMix64 by hand."""
    together = sample_draws(seed, epoch, np.array(indices))
    assert ((together >= 0) & (together < 1)).all()
    for row, index in zip(together, indices, strict=True):
        stream = mixed(mixed(mixed(seed) + epoch) + index)
        words = [mixed(stream + number * 0x9E3779B97F4A7C15) for number in range(1, NUM_DRAWS + 1)]
        assert row.tolist() == [(word >> 11) * 2.0**-53 for word in words]


@unhurried
@given(draws=draws_of_a_face, box=st.tuples(*[st.floats(0, 90)] * 2, *[st.floats(100, 300)] * 2))
def test_the_way_back_from_a_crop_is_exact(draws: list[float], box: tuple[float, float, float, float]) -> None:
    """A point that goes into the crop and back is where it was, to 1e-9 pixels."""
    affine = augmented(draws, box, 1.3)
    points = np.random.default_rng(0).uniform(0, 300, (20, 2))
    np.testing.assert_allclose(move(move(points, invert(affine)), affine), points, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(draws=draws_of_a_face, side=st.floats(60, 420), offset=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)))
def test_landmarks_follow_their_pixels(draws: list[float], side: float, offset: tuple[float, float]) -> None:
    """A bright dot drawn at a landmark lies, after any augmentation, enlarged or shrunk, where the landmark then is."""
    input_px = 96
    centre = np.array([260.3, 255.8])
    landmark = centre + side * np.array(offset)
    y, x = np.mgrid[:520, :520]
    sigma = 3.5 * side / input_px
    dot = 255 * np.exp(-((x - landmark[0]) ** 2 + (y - landmark[1]) ** 2) / (2 * sigma**2))
    image = np.repeat(np.rint(dot).astype(np.uint8)[..., None], 3, axis=-1)
    (x0, y0), (x1, y1) = centre - side / 2, centre + side / 2
    affine = augmented(draws, (x0, y0, x1, y1), 1.0)
    out = np.empty((input_px, input_px, 3), np.uint8)
    warp(image, affine, out)
    weight = out[..., 0].astype(float)
    rows, columns = np.mgrid[:input_px, :input_px]
    found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    expected = move(landmark, invert(affine)) * input_px - 0.5
    assert math.dist(found, expected) < 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return write_dataset(folder, (9, 4, 10))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_ranks_together_see_what_one_rank_sees(folder: Path, manifest: Manifest, world_size: int, train: bool) -> None:
    """Pixels, landmarks and order over all ranks are those of one rank, and all ranks have as many batches."""
    alone = loader_of(folder, manifest, global_batch=6, train=train, seed=5)
    loaders = [
        loader_of(folder, manifest, global_batch=6, train=train, seed=5, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert {len(loader) for loader in loaders} == {len(alone)}
    for whole, *parts in zip(alone, *loaders, strict=True):
        for name in ("images", "landmarks", "visible", "crop_to_image", "indices", "positions", "is_padding"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
        assert [key for part in parts for key in part.keys] == whole.keys


@settings(max_examples=15, deadline=None)
@given(
    global_batch=st.sampled_from([2, 4, 6]),
    done=st.integers(0, 5),
    epoch=st.integers(0, 9),
    parts=st.sampled_from([1, 2]),
)
def test_resuming_anywhere_yields_the_tail(
    folder: Path, manifest: Manifest, global_batch: int, done: int, epoch: int, parts: int
) -> None:
    """A state taken at any step, on any number of ranks, is gone on from on another number with the very same faces."""
    before = loader_of(folder, manifest, global_batch=global_batch)
    before.set_epoch(epoch)
    whole = list(before)
    before.set_epoch(epoch)
    first = loader_of(folder, manifest, global_batch=global_batch, world_size=parts)
    first.set_epoch(epoch)
    done = min(done, len(whole))
    for _, _ in zip(range(done), first, strict=False):
        pass
    after = loader_of(folder, manifest, global_batch=global_batch)
    after.load_state_dict(first.state_dict())
    rest = list(after)
    assert len(rest) == len(whole) - done
    assert all(same(a, b) for a, b in zip(rest, whole[done:], strict=True))
