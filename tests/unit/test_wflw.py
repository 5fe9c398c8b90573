"""WFLW's lists: which word means what, and which subsets a copy may claim."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from adodn.datasets.wflw import WFLWDataset
from adodn.errors import AnnotationError, DataError

IMAGE = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
NAME = "36--Football/36_Football_americanfootball_ball_36_415.jpg"
LANDMARKS = [(440.696106 + i, 132.732559 - 2 * i) for i in range(98)]
COORDINATES = " ".join(f"{x:.6f} {y:.6f}" for x, y in LANDMARKS)
PLAIN = "0 0 0 0 0 0"
OFFICIAL = {"pose": 326, "expression": 314, "illumination": 698, "make-up": 206, "occlusion": 736, "blur": 773}


def line(flags: str = PLAIN, name: str = NAME, box: str = "437 45 528 173") -> str:
    return f"{COORDINATES} {box} {flags} {name}"


def write(root: Path, split: str, lines: list[str]) -> Path:
    image = root / "WFLW_images" / NAME
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(IMAGE)
    path = root / f"WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_words_are_read_in_their_official_order(tmp_path: Path) -> None:
    """98 x y from 0, the box, then pose, expression, illumination, make-up, occlusion and blur, then the image."""
    write(tmp_path, "train", [line("1 0 0 1 1 0")])
    (sample,) = WFLWDataset(tmp_path)
    np.testing.assert_allclose(sample.landmarks, LANDMARKS, atol=1e-6)
    assert sample.box == (437.0, 45.0, 528.0, 173.0)
    assert sample.attributes == {
        "image": NAME,
        "pose": True,
        "expression": False,
        "illumination": False,
        "make-up": True,
        "occlusion": True,
        "blur": False,
    }
    assert sample.image == IMAGE
    assert sample.visible.shape == (98,)
    assert sample.visible.all()


def test_faces_of_one_image_share_a_group_and_have_own_keys(tmp_path: Path) -> None:
    """Keys tell the line, blank lines counted; the group is the image; train comes before test."""
    write(tmp_path, "test", [line()])
    write(tmp_path, "train", [line(), "", line(name=f"./{NAME}"), line()])
    refs = WFLWDataset(tmp_path).index()
    assert [(ref.key, ref.split) for ref in refs] == [
        ("train_00001", "train"),
        ("train_00003", "train"),
        ("train_00004", "train"),
        ("test_00001", "test"),
    ]
    assert [ref.group for ref in refs] == [NAME] * 4


def test_a_test_face_is_read_by_its_own_line(tmp_path: Path) -> None:
    """Each ref leads back to its own line, not to another face of the same image."""
    write(tmp_path, "train", [line(box=f"{i} 0 500 500") for i in range(5)])
    dataset = WFLWDataset(tmp_path)
    assert [dataset.read(ref).box[0] for ref in reversed(dataset.index())] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("short", [None, "full", "pose", "make-up"])
def test_a_subset_is_declared_only_when_whole(tmp_path: Path, short: str | None) -> None:
    """Full and the six subsets exist exactly where they have their official number of test faces."""
    counts = {name: count - (name == short) for name, count in OFFICIAL.items()}
    rows = [" ".join(str(int(i < count)) for count in counts.values()) for i in range(2500 - (short == "full"))]
    write(tmp_path, "test", [line(row) for row in rows])
    dataset = WFLWDataset(tmp_path)
    found = {name: sum(name in ref.subsets for ref in dataset.index()) for name in ("full", *OFFICIAL)}
    expected = {"full": 2500, **OFFICIAL}
    assert found == {name: count if name != short else 0 for name, count in expected.items()}
    named = [problem for problem in dataset.problems if problem.startswith("subset ")]
    missing = expected.get(short or "", 0)
    assert named == (
        [f"subset {short!r} is not declared: {missing - 1} faces found, {missing} are official"] if short else []
    )
    assert "train: 0 faces found, 7500 are official" in dataset.problems


def test_train_faces_count_for_no_subset(tmp_path: Path) -> None:
    """The flags of train faces are attributes, never subsets."""
    write(tmp_path, "train", [line("1 1 1 1 1 1")] * 3)
    assert {ref.subsets for ref in WFLWDataset(tmp_path).index()} == {()}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line() + " 0", "207 words, got 208"),
        (line().partition(" ")[2], "207 words, got 206"),
        (line().replace("440.696106", "nan", 1), "finite number, got 'nan'"),
        (line().replace("440.696106", "-inf", 1), "finite number, got '-inf'"),
        (line().replace("440.696106", "4_4", 1), "finite number, got '4_4'"),
        (line().replace("440.696106", "x", 1), "finite number, got 'x'"),
        (line(box="437 45 437 173"), "x0 < x1"),
        (line(box="437 173 528 45"), "x0 < x1"),
        (line("0 0 2 0 0 0"), "are 0 or 1"),
        (line("0 0 0 0 0 0.0"), "are 0 or 1"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: str, message: str) -> None:
    """A line that breaks the format is an error that names list and line."""
    write(tmp_path, "test", [line(), bad])
    with pytest.raises(AnnotationError, match=rf"list_98pt_rect_attr_test\.txt:2: .*{message}"):
        WFLWDataset(tmp_path)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    """A face whose image is not there is an error at once, with the number of such faces."""
    write(tmp_path, "train", [line(), line(name="absent.jpg"), line(name="x" * 5000)])
    with pytest.raises(AnnotationError, match=r"train\.txt:2: .*absent\.jpg' is not there, as 2 of 3"):
        WFLWDataset(tmp_path)


@pytest.mark.parametrize("name", ["../../secret.jpg", "link.jpg", "ring.jpg", "/etc/hostname", "a\0b.jpg"])
def test_no_name_leads_out_of_the_root(tmp_path: Path, name: str) -> None:
    """`..`, links and absolute paths are refused, not followed."""
    root = tmp_path / "root"
    write(root, "train", [line(name=name)])
    (tmp_path / "secret.jpg").write_bytes(IMAGE)
    (root / "WFLW_images/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "WFLW_images/ring.jpg").symlink_to(root / "WFLW_images/ring.jpg")
    with pytest.raises(AnnotationError, match=r"leads out of|cannot be followed"):
        WFLWDataset(root)


def test_an_image_that_becomes_a_link_later_is_refused(tmp_path: Path) -> None:
    """The way of an image is checked again when it is read."""
    root = tmp_path / "root"
    write(root, "train", [line()])
    dataset = WFLWDataset(root)
    (tmp_path / "secret.jpg").write_bytes(IMAGE)
    (root / "WFLW_images" / NAME).unlink()
    (root / "WFLW_images" / NAME).symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(AnnotationError, match="leads out of"):
        dataset.read(dataset.index()[0])


def test_a_list_outside_the_root_is_refused(tmp_path: Path) -> None:
    """A list that is a link out of the root is not read."""
    path = write(tmp_path / "root", "train", [line()])
    path.rename(tmp_path / "moved.txt")
    path.symlink_to(tmp_path / "moved.txt")
    with pytest.raises(AnnotationError, match="leads out of"):
        WFLWDataset(tmp_path / "root")


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    """A list that is not UTF-8 is an error that names the line."""
    write(tmp_path, "train", []).write_bytes(line().encode() + b"\n\xff\n")
    with pytest.raises(AnnotationError, match=r"train\.txt:2: .*0xff"):
        WFLWDataset(tmp_path)


def test_a_missing_tree_says_what_is_expected(tmp_path: Path) -> None:
    """Without a list there is one error that names the lists and their source."""
    with pytest.raises(DataError, match=r"WFLW_annotations/list_98pt_rect_attr_train_test/.*https://wywu"):
        WFLWDataset(tmp_path / "absent")
