"""Boxes that are moved and scaled, and masks that are put on, at evaluation: by each face's key alone.

pytest tests/unit/test_box_jitter.py
"""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from adodn import protocols
from adodn.config import DataConfig
from adodn.data.manifest import Manifest
from adodn.data.transforms import crop_affine
from adodn.datasets import open as open_dataset
from adodn.datasets.masked import MaskedDataset
from adodn.errors import ConfigError
from adodn.evaluate import face_errors
from adodn.evaluate.views import View
from adodn.samples import Batch
from tests.shard_folder import PROTOCOL, loader_of, manifest_of, same, tar_of, write_dataset, write_shard

KEYS = [f"face-{number}" for number in range(40)]
CROP = 1.3


def view(**changes: object) -> View:
    return View(protocol=PROTOCOL, **changes)  # type: ignore[arg-type]


def centres_and_sides(keys: list[str], boxes: np.ndarray, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    """Centre and side of the crops, in pixels of the image."""
    affines = crop_affine(boxes, crop_scale=CROP, augmentation=view(**changes).placing(keys, CROP))
    assert affines[:, 0, 1] == pytest.approx(0) and affines[:, 1, 0] == pytest.approx(0)
    return affines[:, :, :2].sum(-1) / 2 + affines[:, :, 2], affines[:, 0, 0]


def some_boxes(count: int) -> np.ndarray:
    corners = np.random.default_rng(0).uniform(0, 50, (count, 2))
    return np.concatenate([corners, corners + np.random.default_rng(1).uniform(20, 90, (count, 2))], axis=1)


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.10])
def test_crops_move_and_grow_by_what_the_boxes_do(shift: float, scale: float) -> None:
    """The crop's centre goes by `shift` of the box's larger side, in all directions; its side becomes `scale` times."""
    boxes = some_boxes(len(KEYS))
    larger = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)

    centres, sides = centres_and_sides(KEYS, boxes, shift=shift, scale=scale)

    moved = centres - (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.linalg.norm(moved, axis=1) == pytest.approx(shift * larger, abs=1e-9)
    assert sides == pytest.approx(CROP * scale * larger)
    if shift:
        assert {(x > 0, y > 0) for x, y in moved.tolist()} == {(a, b) for a in (True, False) for b in (True, False)}


def test_a_face_moves_alike_in_any_company() -> None:
    """Order, company and the distance change no direction; another key is another one."""
    boxes = some_boxes(len(KEYS))
    whole, _ = centres_and_sides(KEYS, boxes, shift=0.1)
    backwards, _ = centres_and_sides(KEYS[::-1], boxes[::-1], shift=0.1)
    alone, _ = centres_and_sides(KEYS[3:4], boxes[3:4], shift=0.1)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near, _ = centres_and_sides(KEYS, boxes, shift=0.05)

    assert whole.tolist() == backwards[::-1].tolist()
    assert alone[0].tolist() == whole[3].tolist()
    assert whole - middle == pytest.approx(2 * (near - middle), abs=1e-9)
    angles = np.arctan2(*(whole - middle).T[::-1]) % (2 * math.pi)
    assert len(np.unique(angles.round(6))) == len(KEYS)
    # From x to y, as the page says, so that every machine and version moves it so.
    start = int.from_bytes(hashlib.sha256(b"box:face-3").digest()[:2])
    assert angles[3] == pytest.approx(2 * math.pi * start / 65536)


@pytest.mark.parametrize("wrong", [{"shift": math.nan}, {"scale": 0.0}, {"scale": math.inf}, {"mask_seed": -1}])
def test_a_view_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        view(**wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    where = tmp_path_factory.mktemp("shards")
    return where, write_dataset(where, (6, 4))


def batches(folder: tuple[Path, Manifest], *, size: int = 4, **changes: object) -> list[Batch]:
    return list(loader_of(*folder, train=False, global_batch=size, view=view(**changes) if changes else None))


def test_a_view_that_changes_nothing_changes_no_bit(folder: tuple[Path, Manifest]) -> None:
    assert all(map(same, batches(folder), batches(folder, shift=0.0)))


def test_errors_follow_the_box_and_not_the_annotation(folder: tuple[Path, Manifest]) -> None:
    """A model that always answers the same fractions is off by exactly what the box moved, in the image's pixels."""

    def still(images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 68, 2), 0.5)

    usual, moved = (
        face_errors(still, batches(folder, **changes), PROTOCOL, "box_size") for changes in ({}, {"shift": 0.1})
    )

    larger = (usual.boxes[:, 2:] - usual.boxes[:, :2]).max(axis=1)
    steps = np.linalg.norm(moved.predicted - usual.predicted, axis=2)
    assert steps == pytest.approx(np.broadcast_to(0.1 * larger[:, None], steps.shape), rel=1e-6)
    assert moved.target.tobytes() == usual.target.tobytes() and moved.boxes.tobytes() == usual.boxes.tobytes()


def rendered_shards(folder: Path) -> Manifest:
    """Rendered faces, as masks need eyes and a mouth where they belong."""
    from adodn.data.crop import stored_face
    from adodn.data.manifest import ImagePolicy

    members = []
    faces = open_dataset("synthetic", num_train=0, num_val=0, num_common=3, num_challenging=2, size_px=96)
    for sample in faces:
        jpeg, record = stored_face(sample, ImagePolicy())
        members += [(f"{sample.ref.key}.jpg", jpeg), (f"{sample.ref.key}.json", record.to_json().encode())]
    return manifest_of((write_shard(folder, "train-000000.tar", tar_of(members), 5),))


def test_masks_at_evaluation_are_those_of_a_masked_dataset(tmp_path: Path) -> None:
    """The same mask on the same face, hiding the same landmarks; batches, and another seed, as they should be."""
    held = tmp_path, rendered_shards(tmp_path)
    offline = {
        sample.ref.key: sample
        for sample in MaskedDataset(
            open_dataset("synthetic", num_train=0, num_val=0, num_common=3, num_challenging=2, size_px=96), seed=5
        )
    }
    plain, masked, other = (batches(held, **changes) for changes in ({}, {"mask_seed": 5}, {"mask_seed": 6}))

    for bare, worn, another in zip(plain, masked, other, strict=True):
        for place, key in enumerate(worn.keys):
            assert worn.visible[place].tolist() == offline[key].visible.tolist()
            assert worn.visible[place].sum() < bare.visible[place].sum()
        assert not torch.equal(worn.images, bare.images) and not torch.equal(worn.images, another.images)
        assert torch.equal(worn.image_landmarks, bare.image_landmarks)
    alone = {key: batch.images[0] for batch in batches(held, size=1, mask_seed=5) for key in batch.keys}
    for batch in masked:
        assert all(torch.equal(image, alone[key]) for image, key in zip(batch.images, batch.keys, strict=True))


def test_a_view_is_for_evaluation_alone(folder: tuple[Path, Manifest]) -> None:
    """A loader that trains augments as it always did."""
    with_view, without = (
        list(loader_of(*folder, data=DataConfig(), view=given)) for given in (view(mask_seed=0), None)
    )

    assert all(map(same, with_view, without))


def test_masks_need_eyes_and_a_mouth() -> None:
    nameless = protocols.LandmarkProtocol(name="mine", num_landmarks=2, flip=(1, 0), normalisers={})

    with pytest.raises(ConfigError, match="a mask is fitted to eyes and mouth"):
        View(protocol=nameless, mask_seed=0)
