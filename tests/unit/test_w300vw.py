"""300VW: landmarks and frames belong together, whatever the order of reading, and broken clips are refused."""

import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from adodn.data import images
from adodn.datasets.w300vw import CATEGORIES, TRAIN_CLIPS, W300VWDataset
from adodn.errors import AnnotationError, ConfigError, DataError
from adodn.samples import FaceSample

FRAMES = 60
BITS = 6
STRIPE_PX = 16


def pts(frame: int) -> str:
    """A face that tells its frame by its first x."""
    body = "".join(f"{frame + 1 + i:.3f} {i + 1:.3f}\r\n" for i in range(68))
    return f"version: 1\r\nn_points: 68\r\n{{\r\n{body}}}\r\n"


def write_video(path: Path, fourcc: str = "MJPG", frames: int = FRAMES) -> None:
    """A film whose frames show their number from 1 in binary, a stripe for each bit, white for 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 25.0, (BITS * STRIPE_PX, 64))
    assert writer.isOpened(), fourcc
    for frame in range(1, frames + 1):
        stripes = np.repeat([255 * (frame >> bit & 1) for bit in range(BITS)], STRIPE_PX)
        writer.write(np.broadcast_to(stripes[None, :, None], (64, BITS * STRIPE_PX, 3)).astype(np.uint8))
    writer.release()


def write_annotations(clip: Path, frames: int = FRAMES) -> None:
    (clip / "annot").mkdir(parents=True, exist_ok=True)
    for frame in range(1, frames + 1):
        (clip / f"annot/{frame:06d}.pts").write_text(pts(frame))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "vid.avi"
    write_video(path)
    return path


@pytest.fixture
def clip(tmp_path: Path, film: Path) -> Path:
    """Clip 001 of a copy in `root`."""
    folder = tmp_path / "root/001"
    write_annotations(folder)
    shutil.copy(film, folder)
    return folder


def frame_seen(sample: FaceSample) -> int:
    pixels = images.decode(sample.image, sample.ref.key)
    stripes = pixels.reshape(64, BITS, STRIPE_PX, 3).mean(axis=(0, 2, 3))
    return sum(1 << bit for bit in range(BITS) if stripes[bit] > 127)


@pytest.mark.parametrize("fourcc", ["MJPG", "XVID"])
def test_landmarks_and_frames_belong_together(tmp_path: Path, fourcc: str) -> None:
    """Frames 1, 8, 15, … are read, each with the image and the landmarks of that frame, with key frames or without."""
    write_video(tmp_path / "001/vid.avi", fourcc)
    write_annotations(tmp_path / "001")
    samples = list(W300VWDataset(tmp_path, every_nth=7))
    assert [sample.ref.key for sample in samples] == [f"001_{frame:06d}" for frame in range(1, FRAMES + 1, 7)]
    for sample, frame in zip(samples, range(1, FRAMES + 1, 7), strict=True):
        assert frame_seen(sample) == frame
        assert sample.landmarks.tolist() == [[frame + i, i] for i in range(68)]
        assert sample.box == (frame, 0, frame + 67, 67)
        assert sample.attributes == {"clip": "001", "frame": frame}
        assert sample.ref.group == "001"


def test_the_order_of_reading_does_not_matter(clip: Path) -> None:
    """Frames read in any order, also backwards and twice, and between clips, are those read in order."""
    shutil.copytree(clip, clip.with_name("002"))
    dataset = W300VWDataset(clip.parent, every_nth=9)
    expected = {sample.ref.key: sample.image for sample in dataset}
    order = [*reversed(dataset.index()), *dataset.index()[:3] * 2]
    random.Random(0).shuffle(order)
    assert all(dataset.read(ref).image == expected[ref.key] for ref in order)


def test_threads_may_share_a_dataset(clip: Path) -> None:
    """Four threads that read at once get what one gets."""
    dataset = W300VWDataset(clip.parent, every_nth=5)
    refs = [*dataset.index(), *reversed(dataset.index())]
    with ThreadPoolExecutor(4) as pool:
        samples = list(pool.map(dataset.read, refs))
    assert [frame_seen(sample) for sample in samples] == [int(ref.key[-6:]) for ref in refs]


def test_every_frame_can_be_taken(clip: Path) -> None:
    """With 1 no frame is left out, with more than there are frames the first is left; 25 is the default."""
    assert len(W300VWDataset(clip.parent, every_nth=1)) == FRAMES
    assert len(W300VWDataset(clip.parent, every_nth=FRAMES)) == 1
    assert [ref.key for ref in W300VWDataset(clip.parent).index()] == ["001_000001", "001_000026", "001_000051"]


@pytest.mark.parametrize("every_nth", [0, -25])
def test_a_step_that_is_not_forward_is_refused(clip: Path, every_nth: int) -> None:
    """`every_nth` is at least 1."""
    with pytest.raises(ConfigError, match=f"every_nth is at least 1, got {every_nth}"):
        W300VWDataset(clip.parent, every_nth=every_nth)


def write_official(root: Path, without: str = "") -> None:
    """All 114 clips, one frame each, with videos that nothing could decode."""
    for name in sorted(TRAIN_CLIPS.union(*CATEGORIES.values()) - {without}):
        write_annotations(root / name, frames=1)
        (root / name / "vid.avi").write_bytes(b"")


def test_official_clips_fall_into_their_parts(tmp_path: Path) -> None:
    """50 clips are train, 31, 19 and 14 are test, no clip is in two parts, and the index decodes no video."""
    write_official(tmp_path)
    refs = W300VWDataset(tmp_path, every_nth=1).index()
    parts = [(ref.split, ref.subsets) for ref in refs]
    assert len(refs) == len({ref.group for ref in refs}) == 114
    assert {part: parts.count(part) for part in set(parts)} == {
        ("train", ()): 50,
        ("test", ("category1",)): 31,
        ("test", ("category2",)): 19,
        ("test", ("category3",)): 14,
    }
    assert [ref.key for ref in refs] == sorted(ref.key for ref in refs)


def test_a_category_on_sampled_frames_has_another_name(tmp_path: Path) -> None:
    """A figure on every 25th frame cannot be taken for a published one."""
    write_official(tmp_path)
    names = {name for ref in W300VWDataset(tmp_path).index() for name in ref.subsets}
    assert names == {"category1_every25", "category2_every25", "category3_every25"}


def test_a_category_is_declared_only_when_whole(tmp_path: Path) -> None:
    """With one clip missing its category is none, the others are, and the copy says so."""
    write_official(tmp_path, without="410")
    dataset = W300VWDataset(tmp_path, every_nth=1)
    subsets = {ref.group: ref.subsets for ref in dataset.index()}
    assert (subsets["114"], subsets["203"], subsets["411"]) == (("category1",), ("category2",), ())
    assert list(dataset.problems) == [
        "category3: 13 clips found, 14 are official",
        "extra/ is not there, so frames that the authors list as badly annotated are kept",
    ]


def test_other_clips_are_train_and_told(clip: Path) -> None:
    """A clip whose number is not official counts as train; folders that are no clips are left alone."""
    clip.rename(clip.with_name("999"))
    (clip.parent / "notes").mkdir()
    dataset = W300VWDataset(clip.parent)
    assert {(ref.split, ref.group) for ref in dataset.index()} == {("train", "999")}
    assert "clips 999 are not official, and count as train" in dataset.problems


def test_badly_annotated_frames_are_left_out(clip: Path) -> None:
    """Frames that `extra/001.mat` names, counted from 1, are not in the index, and others keep their place."""
    (clip.parent / "extra").mkdir()
    savemat(clip.parent / "extra/001.mat", {"error": np.array([[11, 12, 21]])})
    dataset = W300VWDataset(clip.parent, every_nth=10)
    assert [frame_seen(sample) for sample in dataset] == [1, 31, 41, 51]
    assert not [problem for problem in dataset.problems if "extra" in problem]


@pytest.mark.parametrize("values", [[[0]], [[2.5]], [[float("nan")]], [["a"]]])
def test_a_broken_list_of_frames_is_refused(clip: Path, values: list[list[object]]) -> None:
    """What `extra` lists must be numbers of frames."""
    (clip.parent / "extra").mkdir()
    savemat(clip.parent / "extra/001.mat", {"error": np.array(values)})
    with pytest.raises(AnnotationError, match=r"001\.mat.*error"):
        W300VWDataset(clip.parent)


def keep_half(clip: Path) -> None:
    data = (clip / "vid.avi").read_bytes()
    (clip / "vid.avi").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (keep_half, r"decodes to [0-9]+ frames, but 60 \.pts files"),
        (lambda clip: (clip / "annot/000060.pts").unlink(), r"decodes to 60 frames, but 59 \.pts files"),
        (lambda clip: (clip / "annot/000061.pts").write_text(pts(61)), r"decodes to 60 frames, but 61 \.pts files"),
    ],
)
def test_a_clip_with_another_number_of_frames_is_refused(
    clip: Path, spoil: Callable[[Path], object], message: str
) -> None:
    """No frame of a clip is handed out, not even the first, unless video and annotations have the same number."""
    spoil(clip)
    dataset = W300VWDataset(clip.parent)
    with pytest.raises(AnnotationError, match=rf"001/vid\.avi: {message}"):
        dataset.read(dataset.index()[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an AVI file"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "not an AVI file"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "not an AVI file"),
        (b"RIFF\x04\x00\x00\x00AVI ", "no video that FFmpeg can decode"),
    ],
)
def test_what_is_no_avi_is_not_opened(clip: Path, data: bytes, message: str) -> None:
    """A playlist named `vid.avi` would lead FFmpeg to other files, so the file's own signature decides."""
    (clip / "vid.avi").write_bytes(data)
    dataset = W300VWDataset(clip.parent)
    with pytest.raises(AnnotationError, match=message):
        dataset.read(dataset.index()[0])


@pytest.mark.parametrize("missing", ["000001.pts", "000030.pts"])
def test_annotations_with_a_gap_are_refused(clip: Path, missing: str) -> None:
    """Where a number is left out it is not known which frame a file belongs to."""
    (clip / "annot" / missing).unlink()
    with pytest.raises(AnnotationError, match=r"without a gap.* found 59 files, the last of them 000060\.pts"):
        W300VWDataset(clip.parent)


def test_a_clip_without_video_is_refused(clip: Path) -> None:
    """A clip needs its video."""
    (clip / "vid.avi").unlink()
    with pytest.raises(AnnotationError, match=r"001: a clip needs vid\.avi"):
        W300VWDataset(clip.parent)


@pytest.mark.parametrize("name", ["", "vid.avi", "annot", "annot/000001.pts"])
def test_links_out_of_the_root_are_refused(clip: Path, name: str) -> None:
    """A clip, video or annotation that is a link out of the root is an error."""
    link = clip / name if name else clip
    outside = clip.parents[1] / "outside"
    link.rename(outside)
    link.symlink_to(outside)
    with pytest.raises(AnnotationError, match="leads out of"):
        list(W300VWDataset(clip.parent))


def test_a_broken_annotation_is_named(clip: Path) -> None:
    """A landmark that is no number is an error that names file and line."""
    (clip / "annot/000026.pts").write_text(pts(26).replace("1.000\r", "nan\r", 1))
    with pytest.raises(AnnotationError, match=r"annot/000026\.pts:4: coordinates must be finite"):
        list(W300VWDataset(clip.parent))


def test_a_missing_tree_says_what_is_expected(tmp_path: Path) -> None:
    """No folder, or one without clips, is an error that names what a clip is and where to get it."""
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"vid\.avi and annot/.*https://ibug"):
            W300VWDataset(root)
