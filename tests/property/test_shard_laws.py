"""Laws of planning and cropping that hold for any dataset and any face."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from adodn import protocols
from adodn.data import images
from adodn.data.crop import stored_face
from adodn.data.manifest import ImagePolicy
from adodn.data.plan import plan
from adodn.data.shards import build_shard
from adodn.datasets.pts import parse_pts
from adodn.errors import AnnotationError
from adodn.protocols import LandmarkProtocol
from adodn.samples import FaceSample, SampleRef


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


BLANK = png(np.zeros((64, 64, 3), np.uint8))


@dataclass
class Listed:
    """A dataset given face by face."""

    samples: list[FaceSample]
    name: str = "listed"
    protocol: LandmarkProtocol = field(default_factory=lambda: protocols.get("68"))
    problems: Sequence[str] = ()

    def index(self) -> Sequence[SampleRef]:
        return [sample.ref for sample in self.samples]

    def read(self, ref: SampleRef) -> FaceSample:
        return replace(next(s for s in self.samples if s.ref.key == ref.key), ref=ref)

    def __iter__(self) -> Iterator[FaceSample]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)


def sample(number: int, split: str, group: int) -> FaceSample:
    landmarks = np.random.default_rng(number).uniform(10, 50, (68, 2))
    (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
    ref = SampleRef(key=f"k{number}", locator=str(number), split=split, group=f"g{group}")
    return FaceSample(ref=ref, image=BLANK, landmarks=landmarks, visible=np.ones(68, np.bool_), box=(x0, y0, x1, y1))


faces = st.lists(st.tuples(st.sampled_from(["train", "train", "test"]), st.integers(0, 6)), min_size=1, max_size=30)


@given(faces, st.integers(1, 8), st.floats(0, 0.9))
@settings(deadline=None)
def test_every_face_is_planned_once_and_no_group_is_parted(
    listed: list[tuple[str, int]], size: int, fraction: float
) -> None:
    """The shards are a partition of the index, none is too large, and train and val share no group."""
    dataset = Listed([sample(i, split, group) for i, (split, group) in enumerate(listed)])
    made = plan(dataset, ImagePolicy(), samples_per_shard=size, val_fraction=fraction)
    planned = [ref.key for shard in made.shards for ref in shard.refs]
    assert sorted(planned) == sorted(ref.key for ref in dataset.index())
    assert all(1 <= len(shard.refs) <= size for shard in made.shards)
    groups = {split: {r.group for s in shards for r in s.refs} for split, shards in made.splits.items()}
    assert not groups.get("train", set()) & groups.get("val", set())
    assert ("train" in groups) == any(split == "train" for split, _ in listed)


CHANGES = {
    "a landmark": lambda s: replace(s, landmarks=s.landmarks + np.eye(68, 2) * 1e-9),
    "a visibility": lambda s: replace(s, visible=s.visible & (np.arange(68) != 5)),
    "the box": lambda s: replace(s, box=(s.box[0] - 1, *s.box[1:])),
    "the image": lambda s: replace(s, image=s.image + b"\0"),
    "a subset": lambda s: replace(s, ref=replace(s.ref, subsets=("common",))),
    "the split": lambda s: replace(s, ref=replace(s.ref, split="test")),
    "the group": lambda s: replace(s, ref=replace(s.ref, group="other")),
    "the key": lambda s: replace(s, ref=replace(s.ref, key="other")),
    "an attribute": lambda s: replace(s, attributes={"pose": 1.0}),
}


@pytest.mark.parametrize("what", CHANGES)
@given(victim=st.integers(0, 11))
@settings(deadline=None, max_examples=10)
def test_any_change_is_another_version(what: str, victim: int) -> None:
    """Equal input has an equal address; a change to any part of any face has another."""
    samples = [sample(i, "train", i // 2) for i in range(12)]
    version = plan(Listed(samples), ImagePolicy()).version
    assert plan(Listed([sample(i, "train", i // 2) for i in range(12)]), ImagePolicy()).version == version
    changed = [CHANGES[what](s) if i == victim else s for i, s in enumerate(samples)]
    assert plan(Listed(changed), ImagePolicy()).version != version


def test_policy_size_and_share_are_part_of_the_version() -> None:
    """Another way to store, cut or split the same faces is another version."""
    dataset = Listed([sample(i, "train", i) for i in range(12)])
    plans = [
        plan(dataset, ImagePolicy()),
        plan(dataset, ImagePolicy(max_px=100)),
        plan(dataset, ImagePolicy(), samples_per_shard=5),
        plan(dataset, ImagePolicy(), val_fraction=0.5),
        plan(replace(dataset, problems=("one is missing",)), ImagePolicy()),
    ]
    assert len({made.version for made in plans}) == len(plans)


@given(st.permutations(range(9)))
@settings(deadline=None, max_examples=10)
def test_train_shards_do_not_depend_on_the_order_of_the_index(order: list[int]) -> None:
    """Which train face lies in which shard follows from the keys alone, and the bytes with it."""
    first, second = (Listed([sample(i, "train", i) for i in numbers]) for numbers in (range(9), order))
    shards = [plan(dataset, ImagePolicy(), samples_per_shard=4).shards for dataset in (first, second)]
    assert [s.digest for s in shards[0]] == [s.digest for s in shards[1]]
    assert build_shard(first, shards[0][0], ImagePolicy()) == build_shard(second, shards[1][0], ImagePolicy())


@given(
    st.integers(40, 80),
    st.integers(40, 80),
    st.floats(1, 3),
    st.integers(32, 60),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 0.6)),
)
@settings(deadline=None, max_examples=30)
def test_stored_pixels_lie_where_the_record_says(
    width: int, height: int, margin: float, max_px: int, place: tuple[float, float, float]
) -> None:
    """On an image of a steady colour ramp, each stored pixel shows the place that the record maps it to."""
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = 3 * np.arange(width) + 6, 3 * np.arange(height)[:, None] + 6
    x, y = place[0] * (width - 1), place[1] * (height - 1)
    reach = place[2] * min(width, height)
    landmarks = np.array([[x, y], [x + reach, y + reach]])
    face = replace(
        sample(0, "train", 0), image=png(ramp), landmarks=landmarks, visible=np.ones(2, np.bool_), box=(0, 0, 1, 1)
    )
    jpeg, record = stored_face(face, ImagePolicy(margin=margin, max_px=max_px, jpeg_quality=100))
    stored = images.decode(jpeg, "a")
    rows, columns = stored.shape[:2]
    scale, left, top = record.stored_to_image
    assert max(rows, columns) <= max_px
    assert scale >= 1
    assume(min(rows, columns) >= 16)  # fewer pixels do not average out what JPEG rounds
    inner = (slice(3, -3), slice(3, -3))  # the filter's window is cut at a border
    expected_x = np.broadcast_to(scale * (np.arange(columns) + 0.5) + left - 0.5, (rows, columns))
    expected_y = np.broadcast_to((scale * (np.arange(rows) + 0.5) + top - 0.5)[:, None], (rows, columns))
    shown = (stored[..., :2] - 6.0) / 3
    assert abs((shown[..., 0] - expected_x)[inner].mean()) < 0.3
    assert abs((shown[..., 1] - expected_y)[inner].mean()) < 0.3
    assert np.abs((shown[..., 0] - expected_x)[inner]).max() < 1.5
    back = scale * (np.array(record.landmarks) + 0.5) + (left, top) - 0.5
    np.testing.assert_allclose(back, landmarks, atol=1e-9)


coordinates = st.floats(-1e4, 1e4, allow_nan=False)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=80), st.data())
def test_pts_round_trip_and_loss(points: list[tuple[float, float]], data: st.DataObject) -> None:
    """What is written is read, one less each; and a file that lost any line but a blank is refused."""
    lines = ["version: 1", f"n_points:  {len(points)}", "{", *(f"{x!r} {y!r}" for x, y in points), "}"]
    read = parse_pts("\n".join(lines).encode(), num_landmarks=len(points), where="a")
    np.testing.assert_array_equal(read, np.array(points) - 1)
    lost = data.draw(st.integers(0, len(lines) - 1))
    with pytest.raises(AnnotationError):
        parse_pts("\n".join(lines[:lost] + lines[lost + 1 :]).encode(), num_landmarks=len(points), where="a")
