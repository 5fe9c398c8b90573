import hashlib
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from adodn import protocols
from adodn.datasets.rendering.camera import HEAD_CENTRE, Camera, rotation
from adodn.datasets.rendering.occluders import OCCLUDERS, pick_occluder
from adodn.datasets.rendering.person import draw_moment, draw_person
from adodn.datasets.rendering.rasteriser import rasterise, seen
from adodn.datasets.rendering.scene import draw
from adodn.datasets.rendering.shape import bilinear, head_sheet, jaw_places, mean_landmarks
from adodn.datasets.synthetic import PHOTOS_PER_PERSON, SyntheticDataset, encode, render
from adodn.errors import AnnotationError, ConfigError

FLIP = list(protocols.get("68").flip)
KINDS = ("train", "val", "common", "challenging")

_PRINT_DIGEST = """
import hashlib
from adodn.datasets.synthetic import encode, render
face = render(3, "challenging", 11, 96)
parts = (face.image.tobytes(), face.landmarks.tobytes(), face.visible.tobytes(), encode(face.image))
print(hashlib.sha256(b"".join(parts)).hexdigest())
"""


def small(**counts):
    return SyntheticDataset(
        **{"num_train": 7, "num_val": 3, "num_common": 4, "num_challenging": 5, "size_px": 64, **counts}
    )


def mean_head():
    """(column, row) `[68, 2]` and points `[68, 3]` of the landmarks on the undeformed head."""
    places = head_sheet().locate(mean_landmarks())
    places[:17] = jaw_places()
    return places, bilinear(head_sheet().vertices, places[:, 0], places[:, 1]).T


def camera(yaw=0.0, pitch=0.0, roll=0.0, *, scale=0.6, offset=(80.0, 80.0)):
    return Camera(rotation=rotation(yaw, pitch, roll), distance=900.0, scale=scale, offset=np.array(offset))


def posed(seed, occluder, **pose):
    person = draw_person(np.random.default_rng([seed, 1]))
    moment = draw_moment(np.random.default_rng([seed, 2]), hard=False)
    moment = replace(moment, **{"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, **pose})
    return draw(person, moment, occluder, np.random.default_rng([seed, 3]), size_px=160, hard=False)


def test_equal_in_another_process():
    """A face has the same bytes, landmarks and JPEG in every process."""
    face = render(3, "challenging", 11, 96)
    parts = (face.image.tobytes(), face.landmarks.tobytes(), face.visible.tobytes(), encode(face.image))
    here = hashlib.sha256(b"".join(parts)).hexdigest()
    there = subprocess.run([sys.executable, "-c", _PRINT_DIGEST], capture_output=True, text=True, check=True).stdout
    assert there.strip() == here


def test_independent_of_order():
    """What was rendered before has no influence on a face."""
    first = [render(0, kind, index, 64) for kind in KINDS for index in range(3)]
    again = [render(0, kind, index, 64) for kind in reversed(KINDS) for index in (2, 1, 0)]
    for face, same in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(face.image, same.image)
        np.testing.assert_array_equal(face.landmarks, same.landmarks)
        np.testing.assert_array_equal(face.visible, same.visible)


@pytest.mark.parametrize("other", [(1, "train", 0, 64), (0, "val", 0, 64), (0, "train", 1, 64)])
def test_arguments_all_count(other):
    """Seed, kind and index each change the face."""
    assert not np.array_equal(render(0, "train", 0, 64).image, render(*other).image)


def test_size_keeps_landmarks():
    """The size scales the picture of a face and leaves its geometry alone."""
    small_face, large_face = render(0, "val", 4, 96), render(0, "val", 4, 192)
    np.testing.assert_allclose((small_face.landmarks + 0.5) * 2, large_face.landmarks + 0.5, atol=1e-6)


def test_splits_and_subsets():
    """Splits, subsets and the length follow the numbers asked for."""
    dataset = small()
    refs = dataset.index()
    assert len(refs) == len(dataset) == 19
    assert Counter(ref.split for ref in refs) == {"train": 7, "val": 3, "test": 9}
    assert Counter(subset for ref in refs for subset in ref.subsets) == {"common": 4, "challenging": 5, "full": 9}
    assert all(ref.subsets == () for ref in refs if ref.split != "test")


def test_keys_and_groups():
    """Keys are unique and legal, and a person has the stated number of photos, all in one split."""
    refs = small(num_train=50).index()
    assert len({ref.key for ref in refs}) == len(refs)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", ref.key) for ref in refs)
    assert max(Counter(ref.group for ref in refs).values()) == PHOTOS_PER_PERSON
    splits = {(ref.group, ref.split) for ref in refs}
    assert len(splits) == len({group for group, _ in splits})


def test_photos_of_one_person_share_traits():
    """Two photos of a group show one person: hair and beard agree."""
    for index in range(0, 12, PHOTOS_PER_PERSON):
        first, second = (render(0, "train", index + i, 64).attributes for i in (0, 1))
        assert (first["hair"], first["beard"]) == (second["hair"], second["beard"])


def test_read_gives_what_render_drew():
    """A sample is the rendered face as JPEG, its box tight around its landmarks."""
    dataset = small(seed=5)
    ref = next(ref for ref in dataset.index() if "challenging" in ref.subsets)
    sample, face = dataset.read(ref), render(5, "challenging", 0, 64)
    decoded = simplejpeg.decode_jpeg(sample.image, colorspace="RGB").astype(int)
    assert np.abs(decoded - face.image).mean() < 3
    np.testing.assert_array_equal(sample.landmarks, face.landmarks)
    np.testing.assert_array_equal(sample.visible, face.visible)
    assert sample.box == (*face.landmarks.min(0), *face.landmarks.max(0))


def test_iteration_follows_index():
    """Iterating yields every face of the index, in its order."""
    dataset = small(num_train=2, num_val=1, num_common=1, num_challenging=1)
    assert [sample.ref for sample in dataset] == list(dataset.index())


@pytest.mark.parametrize("bad", [{"num_val": -1}, {"seed": -1}, {"size_px": 8}, {"size_px": 5000}])
def test_bad_numbers_are_refused(bad):
    """Numbers out of range are refused, and the message names the value."""
    with pytest.raises(ConfigError, match=str(next(iter(bad.values())))):
        SyntheticDataset(**bad)


def test_unknown_kind_is_refused():
    """Only the four kinds can be rendered."""
    with pytest.raises(ConfigError, match="'test'"):
        render(0, "test", 0, 64)


@pytest.mark.parametrize(
    "locator", ["", "0/train/1", "../../etc/passwd", "0/train/-1/160", "0/test/1/160", "0/train/0/99999"]
)
def test_foreign_locators_are_refused(locator):
    """A locator that the index did not give is refused."""
    dataset = small()
    with pytest.raises(AnnotationError):
        dataset.read(replace(dataset.index()[0], locator=locator))


def test_projection_by_hand():
    """A pinhole at 900 mm: a point 100 mm to the right and 300 mm nearer lands 100 · 0.6 · 900 / 600 = 90 px right."""
    point = (HEAD_CENTRE + np.array([100.0, 0.0, 300.0]))[:, None]
    pixels, height = camera().project(point)
    np.testing.assert_allclose(pixels[:, 0], [170.0, 80.0])
    assert height[0] == pytest.approx(300.0)
    np.testing.assert_allclose(rotation(np.pi / 2, 0, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation(0, np.pi / 2, 0) @ [0, 0, 1], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation(0, 0, np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.floats(-1.1, 1.1), st.floats(-0.4, 0.4), st.floats(-0.6, 0.6))
def test_pixels_show_the_landmarks(yaw, pitch, roll):
    """Where a visible landmark is said to be, the picture shows that very place of the head: half within 0.1 px."""
    view, (places, points) = camera(yaw, pitch, roll), mean_head()
    pixels, heights = view.project(head_sheet().vertices)
    raster = rasterise(pixels, heights, 160)
    landmarks = view.outline(points)
    visible = seen(raster, np.zeros((160, 160), np.uint8), landmarks, view.project(points.T)[1])
    maps = np.stack([raster.column, raster.row])
    shown = bilinear(maps, landmarks[:, 1], landmarks[:, 0])
    back = bilinear(pixels, shown[0], shown[1]).T
    corners = np.floor(landmarks).astype(int)[:, None] + [(0, 0), (1, 0), (0, 1), (1, 1)]
    around = maps[:, corners[..., 1], corners[..., 0]].transpose(1, 2, 0)
    unbroken = (np.abs(around - places[:, None]) < 0.6).all((1, 2))  # no edge of nose, lips or face between the pixels
    inner = visible & unbroken
    error = np.linalg.norm(back - landmarks, axis=1)[inner]
    assert inner.sum() >= 20
    assert np.median(error) < 0.1 and np.quantile(error, 0.9) < 0.4


@settings(max_examples=25, deadline=None)
@given(st.floats(-1.1, 1.1), st.floats(-0.4, 0.4), st.floats(-0.5, 0.5))
def test_flip(yaw, pitch, roll):
    """The mean face turned the other way is its mirror image, landmarks permuted by the protocol."""
    _, points = mean_head()
    there = camera(yaw, pitch, roll, offset=(0.0, 0.0)).outline(points)
    mirrored = camera(-yaw, pitch, -roll, offset=(0.0, 0.0)).outline(points) * [-1, 1]
    np.testing.assert_allclose(mirrored, there[FLIP], atol=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_ibug_order(seed):
    """From the front, the 68 landmarks run as ibug has them."""
    x, y = posed(seed, "none").landmarks.T
    assert (np.diff(x[3:14]) > 0).all() and y[8] == y.max()
    assert (np.diff(y[:8]) > 0).all() and (np.diff(y[9:17]) < 0).all()
    assert (np.diff(x[17:27]) > 0).all() and (y[17:27] < y[36:48].min()).all()
    assert (np.diff(y[27:31]) > 0).all() and (np.diff(x[31:36]) > 0).all()
    for first in (36, 42):
        assert x[first] == x[first : first + 6].min() and x[first + 3] == x[first : first + 6].max()
        assert y[first + 1] < y[first + 5] and y[first + 2] < y[first + 4]
    assert x[48] < x[60] < x[51] < x[64] < x[54] and y[51] <= y[62] <= y[66] <= y[57]


@pytest.mark.parametrize("occluder", ["none", "clear_glasses"])
def test_all_visible_from_the_front(occluder):
    """From the front, with nothing or clear glasses before it, every landmark of every face is visible."""
    assert [seed for seed in range(100) if not posed(seed, occluder).visible.all()] == []


@pytest.mark.parametrize("occluder", [name for name in OCCLUDERS if name not in ("none", "clear_glasses")])
def test_covered_is_not_visible(occluder):
    """From the front, a landmark is visible exactly where the occluder's mask leaves its pixel free."""
    hidden = 0
    for seed in range(4):
        face = posed(seed, occluder)
        x, y = np.clip(np.rint(face.landmarks).astype(int), 0, 159).T
        np.testing.assert_array_equal(face.visible, ~face.occluder_mask[y, x])
        hidden += (~face.visible).sum()
    assert hidden > 0


@pytest.mark.parametrize(("yaw", "far", "near"), [(60.0, range(12, 17), range(3)), (-60.0, range(5), range(14, 17))])
def test_turned_away_is_not_visible(yaw, far, near):
    """A turned head hides the far side of its jaw and shows the near side."""
    for seed in range(4):
        visible = posed(seed, "none", yaw_deg=yaw).visible
        assert not visible[list(far)].any()
        assert visible[list(near)].all()


def test_challenging_is_harder():
    """Challenging faces are turned further than common ones and have more hidden landmarks."""
    faces = {kind: [render(0, kind, index, 64) for index in range(60)] for kind in ("common", "challenging")}
    yaw = {kind: np.abs([face.attributes["yaw_deg"] for face in faces[kind]]) for kind in faces}
    hidden = {kind: np.mean([(~face.visible).mean() for face in faces[kind]]) for kind in faces}
    assert yaw["common"].max() <= 35 and 55 < yaw["challenging"].max() <= 70
    assert yaw["challenging"].mean() > 2 * yaw["common"].mean()
    assert hidden["challenging"] > 2 * hidden["common"]


def test_common_has_few_occluders():
    """Something covers about 15 % of common faces and 90 % of challenging ones that are not turned."""
    rng, free = np.random.default_rng(0), ("none", "clear_glasses")
    for hard, share in ((False, 0.15), (True, 0.9)):
        covered = np.mean([pick_occluder(rng, hard=hard, turned=False) not in free for _ in range(4000)])
        assert covered == pytest.approx(share, abs=0.025)


def test_landmarks_lie_in_the_picture():
    """The tight box fills about half of the picture and lies within it."""
    for kind in KINDS:
        for index in range(8):
            landmarks = render(0, kind, index, 64).landmarks
            assert landmarks.min() >= 0 and landmarks.max() <= 63
            assert 0.45 < (landmarks.max(0) - landmarks.min(0)).max() / 64 < 0.65
