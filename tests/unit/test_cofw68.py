"""COFW68's annotations, alone and over COFW's images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from adodn.datasets.cofw68 import Cofw68Dataset, read_annotations
from adodn.errors import AnnotationError, DataError
from adodn.samples import SampleRef
from tests.mat_files import write_hdf5


def points(number: int) -> dict[str, Any]:
    draw = np.random.default_rng(number)
    return {
        "Points": draw.uniform(-3, 40, (68, 2)),
        "Occ": draw.integers(0, 2, (1, 68)).astype(np.uint8),
    }


def write_face(root: Path, number: int, **changes: Any) -> dict[str, Any]:
    folder = root / "test_annotations"
    folder.mkdir(parents=True, exist_ok=True)
    contents = {**points(number), **changes}
    scipy.io.savemat(folder / f"{number}_points.mat", {k: v for k, v in contents.items() if v is not None})
    return contents


def write_boxes(root: Path, boxes: Any) -> None:
    scipy.io.savemat(root / "cofw68_test_bboxes.mat", {"bboxes": boxes}, do_compression=True)


def write_tree(root: Path, numbers: range) -> np.ndarray[Any, Any]:
    for number in numbers:
        write_face(root, number)
    boxes = np.arange(4 * numbers[-1], dtype=np.int16).reshape(-1, 4) + 1
    write_boxes(root, boxes)
    return boxes


def write_images(root: Path, count: int, name: str = "COFW_test_color.mat") -> list[Any]:
    images = [np.full((5, 6, 3), i % 256, dtype=np.uint8) for i in range(count)]
    write_hdf5(root / name, {"IsT": images})
    return images


def test_annotations_are_read_without_images(tmp_path: Path) -> None:
    """Face i has the points of its file less one, the flags turned round, and the corners of row i's box."""
    boxes = write_tree(tmp_path, range(1, 12))
    annotations = read_annotations(tmp_path)
    assert [annotation.number for annotation in annotations] == list(range(1, 12))
    for annotation in annotations:
        written = points(annotation.number)
        assert annotation.landmarks.tolist() == [[x - 1, y - 1] for x, y in written["Points"].tolist()]
        assert annotation.visible.tolist() == [flag == 0 for flag in written["Occ"][0].tolist()]
        left, top, width, height = boxes[annotation.number - 1].tolist()
        assert annotation.box == (left - 1, top - 1, left - 1 + width, top - 1 + height)


def test_without_images_there_is_no_dataset(tmp_path: Path) -> None:
    """The message names the missing file, and the function that does without."""
    write_tree(tmp_path, range(1, 3))
    with pytest.raises(DataError, match=r"COFW_test_color\.mat.*brings no images.*read_annotations"):
        Cofw68Dataset(tmp_path)


def test_a_whole_copy(tmp_path: Path) -> None:
    """Face i has image i of COFW's test set; with all 507 the subset is declared and nothing is amiss."""
    write_tree(tmp_path, range(1, 508))
    images = write_images(tmp_path, 507)
    dataset = Cofw68Dataset(tmp_path)
    assert dataset.problems == ()
    assert dataset.protocol.num_landmarks == 68
    assert {(ref.split, ref.subsets) for ref in dataset.index()} == {("test", ("cofw68",))}
    assert [ref.key for ref in dataset.index()] == [f"cofw68_{i:04d}" for i in range(1, 508)]
    assert dataset.index()[99].group == "cofw/test/0100"
    for i in (0, 99, 506):
        sample = dataset.read(dataset.index()[i])
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.image))), images[i])
        assert sample.landmarks.tolist() == (points(i + 1)["Points"] - 1).tolist()


def test_a_part_of_a_copy_claims_less(tmp_path: Path) -> None:
    """Without face 1 there is no subset, and the others keep their own images."""
    write_tree(tmp_path, range(2, 4))
    images = write_images(tmp_path, 3, "COFW_test.mat")
    dataset = Cofw68Dataset(tmp_path)
    assert dataset.problems == (
        "test_annotations: 2 faces found, 507 are official",
        "subset 'cofw68' is not declared, because the test set must be whole",
        "COFW_test.mat: its images are grey; the colour release is COFW_test_color.mat",
    )
    for sample, image in zip(dataset, images[1:], strict=True):
        assert sample.ref.subsets == ()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.image))), image)


def test_too_few_images_are_an_error(tmp_path: Path) -> None:
    """An annotation without an image is named."""
    write_tree(tmp_path, range(1, 4))
    write_images(tmp_path, 2)
    with pytest.raises(AnnotationError, match=r"has 2 images, but there is test_annotations/3_points\.mat"):
        Cofw68Dataset(tmp_path)


def test_too_few_boxes_are_an_error(tmp_path: Path) -> None:
    """An annotation without a box is named."""
    write_tree(tmp_path, range(1, 4))
    write_boxes(tmp_path, np.ones((2, 4)))
    with pytest.raises(AnnotationError, match=r"has 2 boxes, but there is test_annotations/3_points\.mat"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Points": None}, "Points is missing"),
        ({"Points": np.zeros((67, 2))}, "Points must be 68 x 2, got 67 x 2"),
        ({"Points": np.full((68, 2), np.nan)}, r"Points\(1, 1\) must be a finite number, got nan"),
        ({"Points": np.full((68, 2), 1j)}, "Points must hold real numbers"),
        ({"Points": np.array([["a"], [1.0]], dtype=object)}, "Points must hold real numbers, got MATLAB class 1"),
        ({"Points": {"x": 1.0}}, "Points must hold real numbers, got MATLAB class 2"),
        ({"Points": "text"}, "Points must hold real numbers, got MATLAB class 4"),
        ({"Occ": np.full((1, 68), 2)}, r"Occ\(1, 1\) must be 0 or 1, got 2.0"),
        ({"Occ": np.zeros((68, 1))}, "Occ must be 1 x 68, got 68 x 1"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """What is missing, of another shape or type, or no number is named with file, variable and place."""
    write_tree(tmp_path, range(1, 2))
    write_face(tmp_path, 1, **changes)
    with pytest.raises(AnnotationError, match=rf"test_annotations/1_points\.mat: {message}"):
        read_annotations(tmp_path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    """A file that breaks off is told as such."""
    write_tree(tmp_path, range(1, 2))
    path = tmp_path / "test_annotations/1_points.mat"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(AnnotationError, match=r"1_points\.mat: is damaged or cut"):
        read_annotations(tmp_path)


def test_flat_boxes_are_refused(tmp_path: Path) -> None:
    """A box has a width and a height."""
    write_tree(tmp_path, range(1, 3))
    write_boxes(tmp_path, np.array([[1, 1, 5, 5], [1, 1, 5, 0]]))
    with pytest.raises(AnnotationError, match=r"bboxes\(2, :\) must be x y width height, got \[1.0, 1.0, 5.0, 0.0\]"):
        read_annotations(tmp_path)


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    """A link that leads out of the root is an error, not a way to read other files."""
    write_tree(tmp_path / "elsewhere", range(1, 2))
    write_tree(tmp_path / "root", range(1, 2))
    link = tmp_path / "root/test_annotations/1_points.mat"
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere/test_annotations/1_points.mat")
    with pytest.raises(AnnotationError, match="leads out of"):
        read_annotations(tmp_path / "root")


def test_a_missing_copy_says_what_is_expected(tmp_path: Path) -> None:
    """No folder, or one without annotations, is one error with their names and their source."""
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"1_points\.mat … 507_points\.mat.*https://github\.com"):
            read_annotations(root)


def test_an_unknown_face_is_refused(tmp_path: Path) -> None:
    """A face that is not in the index is not guessed at."""
    write_tree(tmp_path, range(1, 2))
    write_images(tmp_path, 2)
    with pytest.raises(AnnotationError, match=r"'test_annotations/2_points\.mat' is not a face"):
        Cofw68Dataset(tmp_path).read(SampleRef(key="x", locator="test_annotations/2_points.mat", split="test"))


def test_real_annotations(shared_data: Path) -> None:
    """The real copy has 507 faces with 22.9 % of points covered, and points where `scipy` reads them."""
    root = shared_data / "cofw68"
    if not root.is_dir():
        pytest.skip(f"needs {root}")
    annotations = read_annotations(root)
    assert [annotation.number for annotation in annotations] == list(range(1, 508))
    covered = np.mean([~annotation.visible for annotation in annotations])
    assert round(float(covered), 3) == 0.229
    boxes = scipy.io.loadmat(root / "cofw68_test_bboxes.mat")["bboxes"].astype(float)
    for annotation in annotations:
        oracle = scipy.io.loadmat(root / f"test_annotations/{annotation.number}_points.mat")
        assert np.array_equal(annotation.landmarks, oracle["Points"] - 1)
        assert np.array_equal(annotation.visible, oracle["Occ"][0] == 0)
        x0, y0, x1, y1 = annotation.box
        assert [x0 + 1, y0 + 1, x1 - x0, y1 - y0] == boxes[annotation.number - 1].tolist()
        centre = annotation.landmarks.mean(axis=0)
        assert x0 < centre[0] < x1 and y0 < centre[1] < y1 + (y1 - y0) / 4
