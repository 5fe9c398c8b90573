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
from adodn.data.partition import GlobalBatches, epoch_order
from adodn.data.transforms import NUM_DRAWS, Augmentation, crop_affine, draw_augmentation, invert, move, warp
from tests.shard_folder import loader_of, same, write_dataset

unhurried = settings(deadline=None)
counts = st.integers(1, 200)
ranks = st.integers(1, 6)
seeds = st.integers(0, 2**31 - 1)
augmentations = st.lists(st.floats(0, 1, exclude_max=True), min_size=NUM_DRAWS, max_size=NUM_DRAWS).map(
    lambda draws: draw_augmentation(AugmentConfig(), draws)
)


@unhurried
@given(num_samples=counts, seed=seeds, epoch=st.integers(0, 500))
def test_an_order_is_a_permutation(num_samples: int, seed: int, epoch: int) -> None:
    """An epoch's order visits every face exactly once."""
    assert sorted(epoch_order(num_samples, seed, epoch).tolist()) == list(range(num_samples))


@unhurried
@given(num_samples=counts, world_size=ranks, share=st.integers(1, 8), train=st.booleans(), seed=seeds)
def test_ranks_share_what_one_rank_would_take(
    num_samples: int, world_size: int, share: int, train: bool, seed: int
) -> None:
    """The ranks' shares, one after another, are the global batch, whatever the number of ranks."""
    epoch = GlobalBatches(num_samples=num_samples, global_batch=share * world_size, seed=seed, epoch=1, train=train)
    for step in range(len(epoch)):
        shares = [epoch[step].share(rank, world_size) for rank in range(world_size)]
        for name in ("indices", "is_padding", "positions"):
            joined = np.concatenate([getattr(one, name) for one in shares])
            assert np.array_equal(joined, getattr(epoch[step], name))


@unhurried
@given(num_samples=counts, global_batch=st.integers(1, 40))
def test_evaluation_counts_every_face_once(num_samples: int, global_batch: int) -> None:
    """Without padding, an epoch of evaluation is every face exactly once."""
    epoch = GlobalBatches(num_samples=num_samples, global_batch=global_batch, seed=0, epoch=0, train=False)
    plans = [epoch[step] for step in range(len(epoch))]
    real = np.concatenate([plan.indices[~plan.is_padding] for plan in plans])
    assert sorted(real.tolist()) == list(range(num_samples))


@unhurried
@given(num_samples=counts, global_batch=st.integers(1, 40), seed=seeds)
def test_training_repeats_no_face(num_samples: int, global_batch: int, seed: int) -> None:
    """No face comes twice in an epoch of training, but to fill the only batch; and fewer than a batch are left out."""
    epoch = GlobalBatches(num_samples=num_samples, global_batch=global_batch, seed=seed, epoch=0, train=True)
    real = np.concatenate([plan.indices[~plan.is_padding] for plan in (epoch[step] for step in range(len(epoch)))])
    assert len(set(real.tolist())) == len(real)
    assert num_samples - len(real) < global_batch


@unhurried
@given(augmentation=augmentations, box=st.tuples(*[st.floats(0, 90)] * 2, *[st.floats(100, 300)] * 2))
def test_the_way_back_from_a_crop_is_exact(augmentation: Augmentation, box: tuple[float, float, float, float]) -> None:
    """A point that goes into the crop and back is where it was, to 1e-9 pixels."""
    affine = crop_affine(box, crop_scale=1.3, augmentation=augmentation)
    points = np.random.default_rng(0).uniform(0, 300, (20, 2))
    np.testing.assert_allclose(move(move(points, invert(affine)), affine), points, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    augmentation=augmentations, side=st.floats(60, 420), offset=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
)
def test_landmarks_follow_their_pixels(augmentation: Augmentation, side: float, offset: tuple[float, float]) -> None:
    """A bright dot drawn at a landmark lies, after any augmentation, enlarged or shrunk, where the landmark then is."""
    input_px = 96
    centre = np.array([260.3, 255.8])
    landmark = centre + side * np.array(offset)
    y, x = np.mgrid[:520, :520]
    sigma = 3.5 * side / input_px
    dot = 255 * np.exp(-((x - landmark[0]) ** 2 + (y - landmark[1]) ** 2) / (2 * sigma**2))
    image = np.repeat(np.rint(dot).astype(np.uint8)[..., None], 3, axis=-1)
    (x0, y0), (x1, y1) = centre - side / 2, centre + side / 2
    affine = crop_affine((x0, y0, x1, y1), crop_scale=1.0, augmentation=augmentation)
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
