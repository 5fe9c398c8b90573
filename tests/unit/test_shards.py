"""Tars, crops and plans on small cases worked out by hand."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from adodn import datasets
from adodn.data import images
from adodn.data.crop import stored_face
from adodn.data.manifest import FaceRecord, ImagePolicy
from adodn.data.plan import plan
from adodn.data.shards import build_shard
from adodn.data.splitting import split_train
from adodn.data.tarballs import build_tar
from adodn.errors import AnnotationError, ConfigError
from adodn.samples import Dataset, FaceSample, SampleRef

POLICY = ImagePolicy(max_px=32, margin=2.0)


def rendered(**counts: int) -> Dataset:
    return datasets.open(
        "synthetic", **({"num_train": 6, "num_val": 2, "num_common": 1, "num_challenging": 1} | counts)
    )


def face(width: int, height: int, points: list[tuple[float, float]], kind: str = "PNG") -> FaceSample:
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(width), np.arange(height)[:, None]
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return FaceSample(
        ref=SampleRef(key="k", locator="there", split="train"),
        image=buffer.getvalue(),
        landmarks=np.array(points, dtype=np.float64),
        visible=np.ones(len(points), dtype=np.bool_),
        box=(0.0, 0.0, float(width - 1), float(height - 1)),
    )


def test_tar_is_bare_ustar() -> None:
    """A shard's tar has no time, owner or mode of its machine, and keeps the order of its members."""
    data = build_tar([("b.jpg", b"image"), ("b.json", b"{}")])
    assert data[257:265] == b"ustar\x0000"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == ["b.jpg", "b.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_small_plain_jpeg_keeps_its_bytes() -> None:
    """A JPEG of up to 1.25 max_px passes through: bytes, landmarks and box are the original's."""
    sample = face(40, 30, [(10.0, 5.0), (20.0, 15.0)], "JPEG")
    jpeg, record = stored_face(sample, POLICY)
    assert jpeg == sample.image
    assert record.landmarks == ((10.0, 5.0), (20.0, 15.0))
    assert record.box == (0.0, 0.0, 39.0, 29.0)
    assert record.stored_to_image == (1.0, 0.0, 0.0)


def test_larger_jpeg_is_cropped() -> None:
    """A JPEG one pixel above the limit is cut to the square around the landmarks."""
    jpeg, record = stored_face(face(41, 30, [(10.0, 10.0), (17.0, 15.0)], "JPEG"), POLICY)
    # The box is 7 wide, its centre lies at (14, 13) counted from the corner of the first pixel: 14 ± 7 and 13 ± 7.
    assert record.stored_to_image == (1.0, 7.0, 6.0)
    assert images.decode(jpeg, "a").shape == (14, 14, 3)
    assert record.landmarks == ((3.0, 4.0), (10.0, 9.0))


def test_crop_is_clamped_and_shrunk() -> None:
    """At a border the square ends at the image, and both sides shrink by one factor."""
    jpeg, record = stored_face(face(200, 100, [(0.0, 0.0), (63.0, 63.0)]), POLICY)
    # The square reaches 63 from (32, 32): 0 … 95 after clamping, shrunk to 32: by 95 / 32.
    assert record.stored_to_image == (95 / 32, 0.0, 0.0)
    assert images.decode(jpeg, "a").shape == (32, 32, 3)


def test_visible_box_and_source_are_recorded() -> None:
    """The record names the original by its hash and keeps what the dataset says."""
    sample = next(iter(rendered()))
    _, record = stored_face(sample, ImagePolicy())
    assert record.visible == tuple(sample.visible.tolist())
    assert record.attributes == sample.attributes
    assert FaceRecord.from_json(record.to_json(), "here") == record


def test_policy_may_crop_around_the_datasets_box() -> None:
    """`box="dataset"` takes the dataset's box in place of the landmarks."""
    jpeg, _ = stored_face(face(41, 30, [(10.0, 10.0), (17.0, 15.0)]), ImagePolicy(max_px=64, box="dataset"))
    assert images.decode(jpeg, "a").shape == (30, 41, 3)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([(300.0, 300.0), (310.0, 310.0)], "lies in its image of 100 x 90"),
        ([(float("nan"), 0.0), (1.0, 1.0)], "must be finite"),
        ([(5.0, 5.0), (5.0, 5.0)], "a face has an extent"),
    ],
)
def test_impossible_faces_are_refused(points: list[tuple[float, float]], reason: str) -> None:
    """A face without place in its image is one error that names it."""
    with pytest.raises(AnnotationError, match=f"there: .*({reason})"):
        stored_face(face(100, 90, points), POLICY)


def test_val_takes_whole_groups() -> None:
    """Val is carved out by groups until it has its share, and the dataset's own val is left alone."""
    refs = [SampleRef(key=f"k{i}", locator="", split="train", group=f"g{i // 3}") for i in range(30)]
    moved, rule = split_train(refs, 0.1)
    assert sum(ref.split == "val" for ref in moved) == 3
    assert len({ref.group for ref in moved if ref.split == "val"}) == 1
    assert "sha256" in rule
    assert split_train([*moved], 0.5) == (moved, "val is the dataset's own")


def test_one_group_is_never_all_val() -> None:
    """Train keeps a group even where val would take all."""
    refs = [SampleRef(key=f"k{i}", locator="", split="train", group="g") for i in range(3)]
    assert split_train(refs, 0.9)[0] == refs


def test_plan_counts_subsets_of_test() -> None:
    """The plan counts each named subset, and splits into shards of at most the size asked for."""
    made = plan(rendered(), POLICY, samples_per_shard=4)
    assert made.subsets == {"challenging": 1, "common": 1, "full": 2}
    assert [(s.name, len(s.refs)) for s in made.shards] == [
        ("train-000000.tar", 4),
        ("train-000001.tar", 2),
        ("val-000000.tar", 2),
        ("test-000000.tar", 2),
    ]


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"samples_per_shard": 0}, {"val_fraction": 1.0}, {"val_fraction": -0.1}]
)
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    """A plan needs a shard size of at least 1 and a fraction below 1."""
    with pytest.raises(ConfigError, match="samples_per_shard and threads are at least 1"):
        plan(rendered(), POLICY, **options)  # type: ignore[arg-type]


def test_stock_webdataset_reads_a_shard(tmp_path: Path) -> None:
    """WebDataset as it comes reads every face, image and record, in order."""
    dataset = rendered()
    shard = plan(dataset, ImagePolicy()).splits["train"][0]
    path = tmp_path / shard.name
    path.write_bytes(build_shard(dataset, shard, ImagePolicy()))
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [ref.key for ref in shard.refs]
    for sample, ref in zip(samples, shard.refs, strict=True):
        assert sample["jpg"] == dataset.read(ref).image
        assert json.loads(sample["json"])["key"] == ref.key


@pytest.mark.parametrize("name", ["", "a" * 101, "é.jpg", "a\0b"])
def test_names_that_do_not_fit_a_tar_are_refused(name: str) -> None:
    """A member's name is 1 to 100 ASCII characters without a zero."""
    with pytest.raises(ValueError, match="1 to 100 ASCII characters"):
        build_tar([(name, b"")])


def test_a_shard_is_made_only_of_what_was_planned() -> None:
    """A face that changes between planning and writing, image or annotation, stops its whole shard, by name."""
    dataset, policy = rendered(), ImagePolicy()
    shard = plan(dataset, policy).splits["train"][0]
    first = shard.refs[0]
    whole = dataset.read

    for change in (lambda s: {"image": s.image + b"\0"}, lambda s: {"landmarks": s.landmarks + 1e-9}):

        def changed(ref: SampleRef, change: Callable[[FaceSample], dict[str, Any]] = change) -> FaceSample:
            sample = whole(ref)
            return replace(sample, **change(sample)) if ref == first else sample

        dataset.read = changed  # type: ignore[method-assign]
        with pytest.raises(
            AnnotationError, match=f"face '{first.key}' is no longer what it was when shard {shard.name}"
        ):
            build_shard(dataset, shard, policy)


def test_the_estimate_is_near_the_bytes_written() -> None:
    """A shard's estimated size is within a tenth where images keep their bytes, and within a factor of 2 elsewhere."""
    dataset = rendered()
    for policy, low, high in ((ImagePolicy(), 0.9, 1.1), (POLICY, 0.5, 2.0)):
        for shard in plan(dataset, policy).shards:
            written = len(build_shard(dataset, shard, policy).rstrip(b"\0"))
            assert low < shard.estimated_bytes / written < high
