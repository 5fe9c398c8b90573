"""The loader end to end, over shards in a plain folder."""

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from numpy.typing import NDArray

from adodn import protocols
from adodn.config import AugmentConfig, DataConfig
from adodn.data import faces
from adodn.data import loader as loader_module
from adodn.data.loader import ShardLoader
from adodn.data.manifest import Manifest
from adodn.data.partition import EpochOrder
from adodn.errors import CheckpointError, ConfigError, ShardError
from adodn.samples import Batch
from tests.shard_folder import (
    PROTOCOL,
    FolderStore,
    face_members,
    face_record,
    loader_of,
    manifest_of,
    same,
    tar_of,
    write_dataset,
    write_shard,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return write_dataset(folder, (5, 1, 7))


def threads_of_loaders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("adodn-")]


def wait_for(found: Callable[[], list[str]], count: int) -> list[str]:
    """What is found once there are as many, or after five seconds."""
    deadline = time.monotonic() + 5
    while len(found()) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return found()


def with_member(folder: Path, name: str, content: bytes, **changes: object) -> ShardLoader:
    """A loader over eight faces in batches of two, one member replaced."""
    members = [(own, content if own == name else data) for own, data in face_members(0, 8)]
    entry = write_shard(folder, "train-000000.tar", tar_of(members), 8)
    return loader_of(folder, manifest_of((entry,)), **({"train": False, "global_batch": 2} | changes))


def with_record(folder: Path, changes: dict[str, object], **arguments: object) -> ShardLoader:
    """A loader over eight faces, the sixth's record changed."""
    tree = json.loads(face_record("face-0005", 5).to_json()) | changes
    return with_member(folder, "face-0005.json", json.dumps(tree).encode(), **arguments)


def test_a_batch_has_the_shapes_and_types_it_promises(folder: Path, manifest: Manifest) -> None:
    """Every tensor of a batch has the shape and type of its documentation, images laid out channels-last."""
    batch = next(iter(loader_of(folder, manifest)))
    tensors = {name: getattr(batch, name) for name in Batch.__slots__ if name not in ("keys", "subsets")}
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()} == {
        "images": ((4, 3, 32, 32), torch.uint8),
        "landmarks": ((4, 68, 2), torch.float32),
        "visible": ((4, 68), torch.bool),
        "crop_to_image": ((4, 2, 3), torch.float64),
        "image_landmarks": ((4, 68, 2), torch.float64),
        "image_boxes": ((4, 4), torch.float64),
        "indices": ((4,), torch.int64),
        "is_padding": ((4,), torch.bool),
        "positions": ((4,), torch.int64),
    }
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_is_the_manifest_in_order(folder: Path, manifest: Manifest) -> None:
    """Evaluation yields every face once, as its record has it, and marks those that fill the last batch."""
    batches = list(loader_of(folder, manifest, train=False))
    real = [
        (key, subsets, visible.tolist())
        for batch in batches
        for key, subsets, visible, padding in zip(
            batch.keys, batch.subsets, batch.visible, batch.is_padding, strict=True
        )
        if not padding
    ]
    records = [face_record(f"face-{number:04d}", number) for number in range(13)]
    assert real == [(record.key, record.subsets, list(record.visible)) for record in records]
    assert sum(batch.is_padding.sum() for batch in batches) == 3


def test_a_crop_of_the_whole_is_the_stored_image(tmp_path: Path) -> None:
    """A crop exactly around the stored image, at its own size, holds its decoded pixels unchanged."""
    data = DataConfig(crop_scale=1.0)
    loader = with_record(tmp_path, {"box": (-0.5, -0.5, 79.5, 79.5)}, data=data, input_px=80)
    batch = list(loader)[2]
    (jpeg,) = [content for name, content in face_members(5, 1) if name.endswith(".jpg")]
    assert np.array_equal(batch.images[1].permute(1, 2, 0).numpy(), simplejpeg.decode_jpeg(jpeg))


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    """A grey JPEG arrives as RGB with equal channels."""
    grey = np.random.default_rng(0).integers(0, 256, (80, 80, 1), dtype=np.uint8)
    loader = with_member(tmp_path, "face-0005.jpg", simplejpeg.encode_jpeg(grey, colorspace="GRAY"))
    image = list(loader)[2].images[1]
    assert image.float().std() > 10
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])


@pytest.mark.parametrize("train", [True, False])
def test_annotations_come_back_through_the_crop(folder: Path, manifest: Manifest, train: bool) -> None:
    """`crop_to_image` takes a batch's landmarks back to the annotation, to float32 precision, flipped or not."""
    flips = 0
    for batch in loader_of(folder, manifest, train=train):
        for row, key in enumerate(batch.keys):
            record = face_record(key, int(key[-4:]))
            scale, x, y = record.stored_to_image
            expected = scale * (np.array(record.landmarks) + 0.5) + (x, y) - 0.5
            np.testing.assert_allclose(batch.image_landmarks[row].numpy(), expected, rtol=1e-12)
            box = scale * (np.reshape(record.box, (2, 2)) + 0.5) + (x, y) - 0.5
            np.testing.assert_allclose(batch.image_boxes[row].numpy(), box.reshape(4), rtol=1e-12)
            affine = batch.crop_to_image[row].numpy()
            mirrored = np.linalg.det(affine[:, :2]) < 0
            own = expected[list(PROTOCOL.flip)] if mirrored else expected
            back = batch.landmarks[row].double().numpy() @ affine[:, :2].T + affine[:, 2]
            np.testing.assert_allclose(back, own, rtol=1e-6)
            visible = np.array(record.visible)
            assert batch.visible[row].tolist() == (visible[list(PROTOCOL.flip)] if mirrored else visible).tolist()
            flips += int(mirrored)
    assert (flips > 0) == train


def test_flipping_mirrors_pixels_and_swaps_landmarks(folder: Path, manifest: Manifest) -> None:
    """The flipped crop is the mirrored crop, and flipping its landmarks again gives those of the plain crop."""
    plain, flipped = (
        next(iter(loader_of(folder, manifest, data=DataConfig(augment=AugmentConfig(flip_probability=p)))))
        for p in (0.0, 1.0)
    )
    back = flipped.landmarks[:, list(PROTOCOL.flip)] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    torch.testing.assert_close(back, plain.landmarks, rtol=0, atol=1e-6)
    assert torch.equal(flipped.visible[:, list(PROTOCOL.flip)], plain.visible)
    assert (flipped.images.flip(-1).float() - plain.images.float()).abs().mean() < 1.5


def test_occluders_cover_landmarks(folder: Path, manifest: Manifest) -> None:
    """With occluders some visible landmarks become covered, none becomes visible, and no landmark moves."""
    without, with_ = (
        list(loader_of(folder, manifest, data=DataConfig(augment=AugmentConfig(occlusion_probability=p))))
        for p in (0.0, 1.0)
    )
    before = torch.cat([batch.visible for batch in without])
    after = torch.cat([batch.visible for batch in with_])
    assert not (after & ~before).any()
    assert (before & ~after).any()
    assert all(torch.equal(a.landmarks, b.landmarks) for a, b in zip(without, with_, strict=True))


def test_patterns_are_asked_for_before_training_starts(folder: Path, manifest: Manifest) -> None:
    """A loader that shall cover by patterns and has none says so at once; one that does not augment needs none."""
    data = DataConfig(augment=AugmentConfig(occlusion_probability=0.1, occluders=("pattern",)))
    with pytest.raises(ConfigError, match="adodn patterns"):
        loader_of(folder, manifest, data=data)
    assert len(list(loader_of(folder, manifest, data=data, train=False))) == 4


@pytest.mark.parametrize("stop", range(4))
def test_a_resumed_loader_yields_what_was_left(folder: Path, manifest: Manifest, stop: int) -> None:
    """A loader given the state of another yields exactly the batches that the other had not handed out."""
    whole = list(loader_of(folder, manifest))
    first, second = loader_of(folder, manifest), loader_of(folder, manifest)
    batches = iter(first)
    seen = [next(batches) for _ in range(stop)]
    state = first.state_dict()
    second.load_state_dict(json.loads(json.dumps(state)))
    rest = list(second)
    assert (state["epoch"], state["step"]) == (0, stop)
    assert len(seen) + len(rest) == len(whole) == len(first) == 3
    assert all(same(a, b) for a, b in zip(seen + rest, whole, strict=True))
    assert (second.state_dict()["epoch"], second.state_dict()["step"]) == (1, 0)


def test_epochs_follow_each_other(folder: Path, manifest: Manifest) -> None:
    """Each loop is the next epoch, shuffled anew, and `set_epoch` brings one back."""
    loader = loader_of(folder, manifest)
    first, second = list(loader), list(loader)
    assert loader.epoch == 2
    assert [batch.keys for batch in first] != [batch.keys for batch in second]
    loader.set_epoch(0)
    assert all(same(a, b) for a, b in zip(loader, first, strict=True))


def test_setting_the_current_epoch_keeps_the_step(folder: Path, manifest: Manifest) -> None:
    """A training loop that calls `set_epoch` at every epoch resumes in mid-epoch all the same."""
    loader = loader_of(folder, manifest)
    loader.load_state_dict(loader.state_dict() | {"epoch": 3, "step": 2})
    loader.set_epoch(3)
    assert len(list(loader)) == 1


@pytest.mark.parametrize(
    "change", [{"dataset": "0" * 64}, {"seed": 9}, {"global_batch": 8}, {"step": 4}, {"step": -1}, {"epoch": "1"}]
)
def test_a_state_that_does_not_fit_is_refused(folder: Path, manifest: Manifest, change: dict[str, int | str]) -> None:
    """A state of another run, or with a place that does not exist, is refused and changes nothing."""
    loader = loader_of(folder, manifest)
    before = loader.state_dict()
    ((name, value),) = change.items()
    with pytest.raises(CheckpointError, match=rf"{name}.*{value!r}"):
        loader.load_state_dict(before | change)
    assert loader.state_dict() == before


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_comes_at_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_threads: int) -> None:
    """Batches before a damaged face are handed out; then the error names the face, and no thread is left."""
    monkeypatch.setattr(loader_module, "_FACES_OF_A_PART", 1)
    loader = with_member(tmp_path, "face-0005.jpg", b"\xff\xd8 not a picture", num_threads=num_threads)
    batches = iter(loader)
    assert [next(batches).keys[0] for _ in range(2)] == ["face-0000", "face-0002"]
    with pytest.raises(ShardError, match=r"train-000000\.tar!face-0005\.jpg: cannot be decoded"):
        next(batches)
    assert threads_of_loaders() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "face-0006"}, "key must be 'face-0005', got 'face-0006'"),
        ({"landmarks": [[1.0, 2.0]]}, r"must have 68 landmarks and visibilities, got \(1, 68\)"),
        ({"visible": [True]}, r"got \(68, 1\)"),
        ({"box": [5, 5, 5, 9]}, "x0 < x1"),
        ({"stored_to_image": [0, 0, 0]}, "scale of stored_to_image must be positive"),
        ({"box": "everything"}, "not a FaceRecord"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    """A record that breaks a rule is a ShardError with shard, member and rule."""
    with pytest.raises(ShardError, match=rf"folder://toy/train-000000\.tar!face-0005\.json: .*{message}"):
        list(with_record(tmp_path, changes))


def test_an_image_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    """A header of 65500 by 65500 pixels is refused before memory is asked for."""
    jpeg = bytearray(simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = (65500).to_bytes(2, "big") * 2
    with pytest.raises(ShardError, match=r"face-0005\.jpg: .* got 65500 x 65500"):
        list(with_member(tmp_path, "face-0005.jpg", bytes(jpeg)))


def test_closing_early_leaves_no_thread(folder: Path, manifest: Manifest) -> None:
    """After an epoch is left early, none of the loader's threads is alive, and the state is that of the last batch."""
    loader = loader_of(folder, manifest, num_threads=3)
    for _ in loader:
        assert threads_of_loaders()
        break
    assert threads_of_loaders() == []
    assert loader.state_dict()["step"] == 1


def test_shards_are_fetched_a_window_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While faces of one window are handed out, the shards of the next are fetched, and none of those after it."""
    manifest = write_dataset(tmp_path, (4, 4, 4, 4, 4, 4))
    monkeypatch.setattr(loader_module, "EpochOrder", partial(EpochOrder, window_faces=8))
    store = FolderStore(tmp_path)
    batches = iter(loader_of(tmp_path, manifest, source=store, prefetch=0))
    next(batches)
    fetched = wait_for(lambda: sorted(set(store.asked)), 4)
    assert len(fetched) == 4
    order = EpochOrder([4] * 6, seed=0, epoch=0, train=True, window_faces=8)
    near = {f"folder://toy/train-{shard:06d}.tar" for window in (0, 1) for shard in order.shards(window)}
    assert set(fetched) == near
    assert len(list(batches)) == 5
    assert len(store.asked) == 6


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("num_threads", [2, 3, 4])
def test_any_number_of_threads_gives_the_same_batches(
    folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, num_threads: int, train: bool
) -> None:
    """Threads, prefetch and the parts that threads take of a batch change nothing but the time."""
    data = DataConfig(augment=AugmentConfig(occlusion_probability=0.5))
    one = loader_of(folder, manifest, train=train, data=data)
    for least in (64, 1):
        monkeypatch.setattr(loader_module, "_FACES_OF_A_PART", least)
        many = loader_of(folder, manifest, train=train, data=data, num_threads=num_threads, prefetch=5)
        one.set_epoch(1)
        one.set_epoch(0)
        assert all(same(a, b) and a.images.stride() == b.images.stride() for a, b in zip(one, many, strict=True))


def test_all_threads_make_the_first_batch(folder: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads each decode one of its four faces: none begins another batch while one works at this alone."""
    took_part: dict[str, str] = {}
    all_at_it = threading.Barrier(4, timeout=30)

    def decode(data: bytes, where: str) -> NDArray[np.uint8]:
        if len(took_part) < 4:
            took_part[where] = threading.current_thread().name
            all_at_it.wait()
        return faces.decode(data, where)

    monkeypatch.setattr(loader_module, "decode", decode)
    monkeypatch.setattr(loader_module, "_FACES_OF_A_PART", 1)
    first = next(iter(loader_of(folder, manifest, num_threads=4, train=False)))

    assert sorted(where.rpartition("!")[2] for where in took_part) == sorted(first.keys)
    assert len(set(took_part.values())) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "split 'val' of toy/v1 has no faces; it has train"),
        ({"data": DataConfig(dataset="f" * 64)}, "config is for dataset 'ffff"),
        ({"world_size": 3}, "multiple of world_size, got 4 over 3 ranks"),
    ],
)
def test_a_loader_that_cannot_work_is_refused(
    folder: Path, manifest: Manifest, changes: dict[str, object], message: str
) -> None:
    """What does not fit together is a ConfigError at once, not at the first batch."""
    with pytest.raises(ConfigError, match=message):
        loader_of(folder, manifest, **changes)


def test_another_protocol_is_refused(folder: Path, manifest: Manifest) -> None:
    """Faces annotated in one protocol are not read as another."""
    other = protocols.LandmarkProtocol(name="2", num_landmarks=2, flip=(1, 0), normalisers={})
    with pytest.raises(ConfigError, match="has protocol '68', asked for '2'"):
        loader_of(folder, manifest, protocol=other)
