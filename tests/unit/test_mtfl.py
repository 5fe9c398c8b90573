"""MTFL's lists: which word means what, on lists written here and on the real ones."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from adodn.datasets.mtfl import MTFLDataset
from adodn.errors import AnnotationError, DataError

IMAGE = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
XS, YS = (107.25, 147.75, 126.25, 105.75, 146.75), (108.5, 110.0, 133.5, 153.0, 154.5)
POINTS = " ".join(map(str, (*XS, *YS)))


def line(path: str, attributes: str = "1 1 2 3", points: str = POINTS) -> str:
    return f"{path} {points} {attributes}"


def write(root: Path, lines: list[str], name: str = "training.txt", images: tuple[str, ...] = ()) -> None:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(IMAGE)
    root.mkdir(exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n \n")


def test_words_are_read_in_their_official_order(tmp_path: Path) -> None:
    """All x before all y, both from 1; then gender, smile, glasses and pose."""
    path = "lfw_5590/Aaron_Eckhart_0001.jpg"
    write(tmp_path, [line(path.replace("/", "\\"), "2 1 2 5")], images=(path,))
    (sample,) = MTFLDataset(tmp_path)
    assert sample.landmarks.tolist() == [[x - 1, y - 1] for x, y in zip(XS, YS, strict=True)]
    assert sample.box == (104.75, 107.5, 146.75, 153.5)
    assert sample.image == IMAGE
    assert sample.visible.tolist() == [True] * 5
    assert sample.attributes == {
        "image": path,
        "gender": "female",
        "smile": True,
        "glasses": False,
        "pose": "right profile",
    }


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("lfw_5590/Jean-Pierre_Bemba_0001.jpg", "lfw_5590/Jean-Pierre_Bemba"),
        ("net_7876/_-20_1007_1.jpg", "net_7876/1007"),
        ("net_7876/_40_1007_0.jpg", "net_7876/1007"),
        ("net_7876/6244_3_0.jpg", "net_7876/6244"),
        ("AFLW/0012-image20056.jpg", "AFLW/image20056"),
        ("other/portrait.jpg", "other/portrait"),
    ],
)
def test_the_group_is_the_person_or_the_photo(tmp_path: Path, path: str, group: str) -> None:
    """LFW names the person, the other sources number the photo."""
    write(tmp_path, [line(path)], images=(path,))
    (ref,) = MTFLDataset(tmp_path).index()
    assert ref.group == group


def test_keys_and_splits(tmp_path: Path) -> None:
    """Keys tell list and line, train comes before test, and short lists are told and claim no subset."""
    write(tmp_path, [line("b.jpg"), "", line("a.jpg")], images=("a.jpg", "b.jpg"))
    write(tmp_path, [line("a.jpg")], name="testing.txt")
    dataset = MTFLDataset(tmp_path)
    assert [(ref.key, ref.locator, ref.split, ref.subsets) for ref in dataset.index()] == [
        ("train_00001", "training.txt:1", "train", ()),
        ("train_00003", "training.txt:3", "train", ()),
        ("test_00001", "testing.txt:1", "test", ()),
    ]
    assert list(dataset.problems) == [
        "training.txt: 2 faces found, 10000 are official",
        "testing.txt: 1 faces found, 2995 are official",
    ]


def test_test_faces_are_a_subset_when_all_there(tmp_path: Path) -> None:
    """2,995 test faces are the subset `aflw`."""
    write(tmp_path, [line("a.jpg")] * 2995, name="testing.txt", images=("a.jpg",))
    dataset = MTFLDataset(tmp_path)
    assert {ref.subsets for ref in dataset.index()} == {("aflw",)}
    assert list(dataset.problems) == ["training.txt: 0 faces found, 10000 are official"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line("a.jpg") + " 1", "15 words, got 16"),
        ("a.jpg 1 2 3", "15 words, got 4"),
        (line("a.jpg", points=POINTS.replace("107.25", "nan")), "finite number, got 'nan'"),
        (line("a.jpg", points=POINTS.replace("154.5", "1e999")), "finite number, got '1e999'"),
        (line("a.jpg", "0 1 2 3"), "gender is one of 1, 2, got '0'"),
        (line("a.jpg", "1 3 2 3"), "smile is one of 1, 2, got '3'"),
        (line("a.jpg", "1 1 -1 3"), "glasses is one of 1, 2, got '-1'"),
        (line("a.jpg", "1 1 2 6"), "pose is one of 1, 2, 3, 4, 5, got '6'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: str, message: str) -> None:
    """A line that breaks the format is an error that names list and line."""
    write(tmp_path, [line("a.jpg"), bad], images=("a.jpg",))
    with pytest.raises(AnnotationError, match=rf"training\.txt:2: .*{message}"):
        MTFLDataset(tmp_path)


@pytest.mark.parametrize("path", ["..\\secret.jpg", "lfw_5590/../../secret.jpg", "link.jpg", "folder\\secret.jpg"])
def test_no_path_leads_out_of_the_root(tmp_path: Path, path: str) -> None:
    """`..` with either slash, and links to files or folders, are refused, not followed."""
    root = tmp_path / "root"
    write(root, [line(path)])
    (tmp_path / "secret.jpg").write_bytes(IMAGE)
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "folder").symlink_to(tmp_path)
    with pytest.raises(AnnotationError, match="leads out of"):
        MTFLDataset(root)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    """A face whose image is not there is an error at once."""
    write(tmp_path, [line("a.jpg"), line("gone\\b.jpg")], images=("a.jpg",))
    with pytest.raises(AnnotationError, match=r"training\.txt:2: image '.*gone/b\.jpg' is not there, as 1 of 2"):
        MTFLDataset(tmp_path)


def test_a_missing_tree_says_what_is_expected(tmp_path: Path) -> None:
    """Without a list there is one error that names the lists and their source."""
    with pytest.raises(DataError, match=r"training\.txt and testing\.txt .*https://mmlab"):
        MTFLDataset(tmp_path)


def test_real_copy_reads_whole(shared_data: Path) -> None:
    """The real lists are complete, and frontal faces have their eyes above the mouth and left of right."""
    dataset = MTFLDataset(shared_data / "mtfl")
    assert list(dataset.problems) == []
    assert Counter((ref.split, ref.subsets) for ref in dataset.index()) == {
        ("train", ()): 10_000,
        ("test", ("aflw",)): 2_995,
    }
    frontal = 0
    for sample in map(dataset.read, dataset.index()[::151]):
        height, width, *_ = simplejpeg.decode_jpeg_header(sample.image)
        assert (sample.landmarks > -8).all(), sample.ref.locator
        assert (sample.landmarks < (width + 8, height + 8)).all(), sample.ref.locator
        if sample.attributes["pose"] == "frontal":
            frontal += 1
            left_eye, right_eye, nose, left_mouth, right_mouth = sample.landmarks
            assert left_eye[0] < nose[0] < right_eye[0], sample.ref.locator
            assert left_mouth[0] < right_mouth[0], sample.ref.locator
            assert max(left_eye[1], right_eye[1]) < min(left_mouth[1], right_mouth[1]), sample.ref.locator
    assert frontal > 40
