"""Users' own faces: three forms of the same faces read the same, and what is wrong in one is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from adodn import datasets, protocols
from adodn.data import images
from adodn.datasets.coco import CocoDataset
from adodn.datasets.pts_folder import PtsFolderDataset
from adodn.datasets.table import TableDataset
from adodn.errors import AnnotationError, DataError
from adodn.samples import Dataset

FIVE = protocols.get("5")
Write = Callable[[Path, np.ndarray, np.ndarray, list[str]], Dataset]


def photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return images.encode(pixels, quality=90)


def names_of(splits: list[str]) -> list[str]:
    return [f"{split}/face {number}.jpg" for number, split in enumerate(splits)]


def put_images(root: Path, splits: list[str]) -> None:
    for number, name in enumerate(names_of(splits)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(photo(number))


def as_pts(root: Path, landmarks: np.ndarray, visible: np.ndarray, splits: list[str]) -> Dataset:
    put_images(root, splits)
    for name, points in zip(names_of(splits), landmarks, strict=True):
        body = "\n".join(f"{x + 1!r} {y + 1!r}" for x, y in points.tolist())
        (root / name).with_suffix(".pts").write_text(f"version: 1\nn_points: 5\n{{\n{body}\n}}\n")
    return PtsFolderDataset(root, FIVE)


def as_coco(root: Path, landmarks: np.ndarray, visible: np.ndarray, splits: list[str]) -> Dataset:
    put_images(root, splits)
    for split in set(splits):
        own = [number for number, each in enumerate(splits) if each == split]
        file = {
            "images": [{"id": number, "file_name": names_of(splits)[number]} for number in own],
            "annotations": [
                {
                    "id": number,
                    "image_id": number,
                    "keypoints": np.column_stack([landmarks[number], 1 + visible[number]]).ravel().tolist(),
                }
                for number in own
            ],
        }
        (root / f"{split}.json").write_text(json.dumps(file))
    return CocoDataset(root, FIVE)


def rows(landmarks: np.ndarray, visible: np.ndarray, splits: list[str]) -> list[dict[str, Any]]:
    return [
        {"image": name, "split": split, "mood": "calm"}
        | {f"{axis}{i}": float(points[i][k]) for i in range(5) for k, axis in enumerate("xy")}
        | {f"visible{i}": int(seen[i]) for i in range(5)}
        for name, split, points, seen in zip(names_of(splits), splits, landmarks, visible, strict=True)
    ]


def as_csv(root: Path, landmarks: np.ndarray, visible: np.ndarray, splits: list[str]) -> Dataset:
    put_images(root, splits)
    found = rows(landmarks, visible, splits)
    lines = [",".join(found[0]), *(",".join(str(value) for value in row.values()) for row in found)]
    (root / "faces.csv").write_text("\n".join(lines))
    return TableDataset(root, FIVE)


def as_parquet(root: Path, landmarks: np.ndarray, visible: np.ndarray, splits: list[str]) -> Dataset:
    put_images(root, splits)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows(landmarks, visible, splits)), root / "faces.parquet")
    return TableDataset(root, FIVE)


@pytest.mark.parametrize("write", [as_pts, as_coco, as_csv, as_parquet])
def test_every_form_reads_the_same(write: Write, tmp_path: Path) -> None:
    """Landmarks, visibility (but for .pts, which has none), splits and images come back as they were written."""
    rng = np.random.default_rng(0)
    splits = ["train", "train", "val", "test"]
    landmarks, visible = rng.uniform(2, 38, (4, 5, 2)), rng.random((4, 5)) < 0.5
    visible[0, 0] = True

    dataset = write(tmp_path, landmarks, visible, splits)
    faces = {face.image: face for face in dataset}

    assert len(dataset) == len(faces) == 4
    assert len({ref.key for ref in dataset.index()}) == 4
    for number, split in enumerate(splits):
        face = faces[photo(number)]
        np.testing.assert_allclose(face.landmarks, landmarks[number], atol=1e-9)
        assert face.ref.split == split
        assert np.array_equal(face.visible, np.ones(5, bool) if write is as_pts else visible[number])
        assert face.box == pytest.approx((*landmarks[number].min(0), *landmarks[number].max(0)))


@pytest.mark.parametrize("name", ["test_aflw.json", "Faces-Test.json", "wflw.test.v2.json"])
def test_coco_files_are_known_by_a_word_of_their_name(tmp_path: Path, name: str) -> None:
    """A file is of the split whose name is a word of its own; other JSON files are left alone."""
    as_coco(tmp_path, np.arange(20.0).reshape(2, 5, 2), np.ones((2, 5), bool), ["train", "test"])
    (tmp_path / "test.json").rename(tmp_path / name)
    (tmp_path / "latest.json").write_text("not keypoints")

    assert [ref.split for ref in CocoDataset(tmp_path, FIVE).index()] == ["train", "test"]


def test_a_coco_file_of_two_splits_is_refused(tmp_path: Path) -> None:
    """Whether the faces of `train_val.json` are train or val cannot be known."""
    (tmp_path / "train_val.json").write_text("{}")

    with pytest.raises(DataError, match=r"train_val\.json.*train and val"):
        CocoDataset(tmp_path, FIVE)


@pytest.mark.parametrize("name", ["coco", "pts", "table"])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    """A wrong path is told apart from a folder without faces."""
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"absent' of dataset .* does not exist"):
        datasets.open(name, tmp_path / "absent")
    with pytest.raises(DataError, match=r"file' of dataset .* is not a folder"):
        datasets.open(name, tmp_path / "file")


def test_coco_without_a_two_counts_one_as_visible(tmp_path: Path) -> None:
    """Files of face converters say 1 for all; the dataset says how it read them."""
    put_images(tmp_path, ["train"])
    face = {"id": 7, "image_id": 0, "keypoints": [5.0, 6.0, 1] * 5, "bbox": [1, 2, 30, 20]}
    file = {"images": [{"id": 0, "file_name": "train/face 0.jpg"}], "annotations": [face]}
    (tmp_path / "annotations.json").write_text(json.dumps(file))

    dataset = CocoDataset(tmp_path, FIVE)
    (found,) = dataset

    assert found.visible.all()
    assert found.box == (1, 2, 31, 22)
    assert "1 counts as visible" in dataset.problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [5.0, 6.0, 1] * 4}, "annotation 7: protocol '5' needs 15 numbers"),
        ({"keypoints": [5.0, 6.0, 0] + [5.0, 6.0, 2] * 4}, "landmark 0 has v = 0"),
        ({"keypoints": ["a", 6.0, 0] + [5.0, 6.0, 2] * 4}, "annotations.0.keypoints.0"),
        ({"image_id": 3}, "image_id 3 is not among"),
        ({"bbox": [1, 2, 0, 5]}, "a face box has a width"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """One error with the annotation's id, or its place in the file."""
    put_images(tmp_path, ["train"])
    face = {"id": 7, "image_id": 0, "keypoints": [5.0, 6.0, 2] * 5} | change
    file = {"images": [{"id": 0, "file_name": "train/face 0.jpg"}], "annotations": [face]}
    (tmp_path / "train.json").write_text(json.dumps(file))

    with pytest.raises(AnnotationError) as caught:
        CocoDataset(tmp_path, FIVE)

    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/passwd", "gone.jpg"])
def test_an_image_outside_or_missing_is_refused(tmp_path: Path, name: str) -> None:
    """No name leads out of the folder, and a missing image is found before any is read."""
    (tmp_path / "outside.jpg").write_bytes(photo(0))
    root = tmp_path / "own"
    root.mkdir()
    file = {
        "images": [{"id": 0, "file_name": name}],
        "annotations": [{"id": 7, "image_id": 0, "keypoints": [5.0, 6.0, 2] * 5}],
    }
    (root / "train.json").write_text(json.dumps(file))

    with pytest.raises(AnnotationError):
        CocoDataset(root, FIVE)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x3", "nan", "row 1: x3 must be a finite number"),
        ("y0", "left", "row 1: y0 must be a finite number"),
        ("visible2", "2", "row 1: visible2 must be 0 or 1"),
        ("split", "exam", "row 1: needs an image and a split"),
        ("x5", "3", "column 'x5' is too much"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    """One error with the row and the column."""
    put_images(tmp_path, ["train"])
    row = rows(np.full((1, 5, 2), 9.0), np.ones((1, 5), bool), ["train"])[0] | {column: value}
    (tmp_path / "faces.csv").write_text(",".join(row) + "\n" + ",".join(str(cell) for cell in row.values()) + "\n")

    with pytest.raises(AnnotationError) as caught:
        TableDataset(tmp_path, FIVE)

    assert message in str(caught.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """The first of the missing columns, and how many."""
    (tmp_path / "faces.csv").write_text("image,x0,y0\nface.jpg,1,2\n")

    with pytest.raises(AnnotationError, match="needs column 'x1', and 8 are missing"):
        TableDataset(tmp_path, FIVE)


@pytest.mark.parametrize("dataset", [CocoDataset, TableDataset, PtsFolderDataset])
def test_an_empty_folder_says_what_it_needs(tmp_path: Path, dataset: Callable[..., Dataset]) -> None:
    """The message names the files that are looked for."""
    with pytest.raises(DataError, match=r"json|csv|pts"):
        dataset(tmp_path, FIVE)
