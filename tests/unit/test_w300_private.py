"""300W's own test set: two folders of PNG, and one subset over both. The rest is tested with 300W."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from adodn.datasets.w300_private import W300PrivateDataset
from adodn.errors import AnnotationError, DataError

IMAGE = bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1])
LANDMARKS = [(i % 8 + 1, i // 8 + 1.5) for i in range(68)]
PTS = "version: 1\nn_points:  68\n{\n" + "".join(f"{x:.6f} {y:.6f}\n" for x, y in LANDMARKS) + "}\n"


def write(root: Path, indoor: int, outdoor: int) -> None:
    for folder, name, count in [("01_Indoor", "indoor", indoor), ("02_Outdoor", "outdoor", outdoor)]:
        (root / folder).mkdir(parents=True)
        for number in range(1, count + 1):
            (root / folder / f"{name}_{number:03d}.png").write_bytes(IMAGE)
            (root / folder / f"{name}_{number:03d}.pts").write_text(PTS)


def test_a_face_is_read(tmp_path: Path) -> None:
    """A face has its landmarks from 0 and its PNG's own bytes, and is a group of its own."""
    write(tmp_path, 2, 1)
    dataset = W300PrivateDataset(tmp_path)
    assert [(ref.key, ref.group) for ref in dataset.index()] == [
        ("01_Indoor_indoor_001", "01_Indoor/indoor_001"),
        ("01_Indoor_indoor_002", "01_Indoor/indoor_002"),
        ("02_Outdoor_outdoor_001", "02_Outdoor/outdoor_001"),
    ]
    sample = dataset.read(dataset.index()[1])
    assert sample.landmarks.tolist() == [[x - 1, y - 1] for x, y in LANDMARKS]
    assert sample.image == IMAGE


@pytest.mark.parametrize("outdoor", [300, 299])
def test_private_is_declared_only_when_whole(tmp_path: Path, outdoor: int) -> None:
    """All faces are test faces of their folder's subset; `private` needs 300 of each."""
    write(tmp_path, 300, outdoor)
    dataset = W300PrivateDataset(tmp_path)
    more = ("private",) if outdoor == 300 else ()
    assert [(ref.split, ref.subsets) for ref in dataset.index()] == [
        *[("test", ("indoor", *more))] * 300,
        *[("test", ("outdoor", *more))] * outdoor,
    ]
    assert list(dataset.problems) == (
        []
        if outdoor == 300
        else [
            "02_Outdoor: 299 faces found, 300 are official",
            "subset 'private' is not declared, because 01_Indoor and 02_Outdoor must be whole",
        ]
    )


def test_a_face_without_image_is_an_error(tmp_path: Path) -> None:
    """An annotation whose image is missing is named."""
    write(tmp_path, 1, 1)
    (tmp_path / "01_Indoor/indoor_001.png").unlink()
    with pytest.raises(AnnotationError, match=r"01_Indoor/indoor_001\.pts: needs one image"):
        W300PrivateDataset(tmp_path)


def test_a_broken_annotation_is_named(tmp_path: Path) -> None:
    """A landmark that is no number is an error that names file and line."""
    write(tmp_path, 1, 1)
    (tmp_path / "02_Outdoor/outdoor_001.pts").write_text(PTS.replace("1.000000", "nan", 1))
    with pytest.raises(AnnotationError, match=r"outdoor_001\.pts:4: coordinates must be finite"):
        list(W300PrivateDataset(tmp_path))


def test_a_missing_tree_says_what_is_expected(tmp_path: Path) -> None:
    """Another folder, 300W's training faces for instance, is refused with the parts that it should have."""
    (tmp_path / "afw").mkdir()
    with pytest.raises(DataError, match=r"300w-private .*01_Indoor, 02_Outdoor"):
        W300PrivateDataset(tmp_path)
