"""AFLW's table of 24,386 faces: its order, its subsets, and what a copy without all images may claim."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import simplejpeg

from adodn.datasets.aflw import AflwDataset, read_table
from adodn.errors import AnnotationError, DataError
from adodn.samples import SampleRef
from tests.mat_files import write_hdf5

IMAGE = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
FACES, TRAIN = 24_386, 20_000


def contents(rows: int) -> dict[str, Any]:
    """A made-up table, as MATLAB shows it; about half its faces are frontal."""
    draw = np.random.default_rng(rows)
    left, top = draw.integers(1, 50, rows), draw.integers(1, 50, rows)
    boxes = np.stack([left, left + 100, top, top + 80], axis=1)
    x = left[:, None] + draw.uniform(1, 99, (rows, 19)).round(2)
    y = top[:, None] + draw.uniform(1, 79, (rows, 19)).round(2)
    x[::5, 3], y[1::7, 18], x[2::11, 0] = left[::5], top[1::7] + 80, left[2::11] + 101
    mask = np.ones((rows, 19), dtype=np.uint8)
    mask[::3, 7] = 0
    return {
        "nameList": [f"{(0, 2, 3)[i % 3]}/image{i % 40:05d}.{'png' if i % 2 else 'jpg'}" for i in range(rows)],
        "bbox": boxes.astype(np.float64),
        "data": np.hstack([x, y]),
        "mask_new": mask,
        "ra": draw.permutation(rows)[None, :] + 1.0,
    }


def save(root: Path, table: dict[str, Any]) -> None:
    names = np.empty((len(table["nameList"]), 1), dtype=object)
    names[:, 0] = table["nameList"]
    scipy.io.savemat(root / "AFLWinfo_release.mat", {**table, "nameList": names}, do_compression=True)


def photo(name: str) -> str:
    return f"{name[:-4]}.jpg"


def is_frontal(table: dict[str, Any], row: int) -> bool:
    """The rule, point by point, on the numbers as they are stored."""
    x0, x1, y0, y1 = table["bbox"][row]
    points = zip(table["data"][row, :19], table["data"][row, 19:], table["mask_new"][row], strict=True)
    return all(seen == 1 and x0 < x < x1 and y0 < y < y1 for x, y, seen in points)


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    """A table of AFLW's length whose first training face and first test face have photos of their own."""
    table = contents(FACES)
    first, first_test = int(table["ra"][0, 0]) - 1, int(table["ra"][0, TRAIN]) - 1
    table["nameList"][first], table["nameList"][first_test] = "0/train_only.png", "2/test_only.jpg"
    return table


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]) -> Path:
    """A whole copy."""
    root = tmp_path_factory.mktemp("aflw")
    save(root, table)
    for name in set(map(photo, table["nameList"])):
        path = root / "flickr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE)
    return root


@pytest.fixture(scope="module")
def dataset(whole: Path) -> AflwDataset:
    """The whole copy, opened."""
    return AflwDataset(whole)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A whole copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_whole_copy(dataset: AflwDataset, table: dict[str, Any]) -> None:
    """The order `ra` gives 20,000 training and 4,386 test faces; full is the latter, frontal what the rule picks."""
    refs = dataset.index()
    rows = [int(number) - 1 for number in table["ra"][0]]
    assert [ref.key for ref in refs] == [f"aflw_{row + 1:05d}" for row in rows]
    assert [ref.split for ref in refs] == ["train"] * TRAIN + ["test"] * (FACES - TRAIN)
    assert {ref.subsets for ref in refs[:TRAIN]} == {()}
    frontal = [is_frontal(table, row) for row in rows[TRAIN:]]
    assert [ref.subsets for ref in refs[TRAIN:]] == [("full", "frontal") if yes else ("full",) for yes in frontal]
    assert 0 < sum(frontal) < len(frontal)
    assert dataset.problems == (f"{sum(frontal)} test faces are frontal by the rule; 1314 and 1165 are published",)
    assert dataset.protocol.num_landmarks == 19


def test_a_row_becomes_a_face(dataset: AflwDataset, table: dict[str, Any]) -> None:
    """A face has its row's points and box from 0, its mask as visibility, its photo's bytes; hidden points stay."""
    for ref in dataset.index()[:: FACES // 20]:
        row = int(ref.key.removeprefix("aflw_")) - 1
        sample = dataset.read(ref)
        x, y = table["data"][row].reshape(2, 19).tolist()
        assert sample.landmarks.tolist() == [[x[k] - 1, y[k] - 1] for k in range(19)]
        assert sample.visible.tolist() == [flag == 1 for flag in table["mask_new"][row].tolist()]
        x0, x1, y0, y1 = table["bbox"][row].tolist()
        assert sample.box == (x0 - 1, y0 - 1, x1 - 1, y1 - 1)
        assert sample.image == IMAGE
        assert ref.locator == f"flickr/{photo(table['nameList'][row])}#{row + 1}"
        assert ref.group == f"aflw/{table['nameList'][row][:-4]}"


def test_a_missing_training_image_costs_its_faces(copy: Path) -> None:
    """A face without image is left out and counted; the test subsets stand."""
    (copy / "flickr/0/train_only.jpg").unlink()
    dataset = AflwDataset(copy)
    assert len(dataset) == FACES - 1
    assert dataset.problems[0] == "1 of 24386 faces are left out, because their image is not in flickr"
    assert dataset.index()[0].split == "train"
    assert [ref.split for ref in dataset.index()].count("test") == FACES - TRAIN
    assert all("full" in ref.subsets for ref in dataset.index() if ref.split == "test")


def test_a_missing_test_image_costs_the_subsets(copy: Path) -> None:
    """A test face short, neither subset is declared."""
    (copy / "flickr/2/test_only.jpg").unlink()
    dataset = AflwDataset(copy)
    assert {ref.subsets for ref in dataset.index()} == {()}
    assert "subsets 'full' and 'frontal' are not declared, because the test set must be whole" in dataset.problems


def test_an_image_that_goes_away_is_named(copy: Path) -> None:
    """An image that is gone when its face is read is one error with its path."""
    dataset = AflwDataset(copy)
    (copy / "flickr/0/train_only.jpg").unlink()
    with pytest.raises(AnnotationError, match=r"flickr/0/train_only\.jpg: cannot be read: No such file"):
        dataset.read(dataset.index()[0])


def test_links_out_of_the_root_are_refused(copy: Path, tmp_path: Path) -> None:
    """Neither an image nor a folder of images may be a link that leads out of the root."""
    image = copy / "flickr/0/train_only.jpg"
    (tmp_path / "secret.jpg").write_bytes(IMAGE)
    image.unlink()
    image.symlink_to(tmp_path / "secret.jpg")
    dataset = AflwDataset(copy)
    with pytest.raises(AnnotationError, match="leads out of"):
        dataset.read(dataset.index()[0])
    shutil.move(copy / "flickr/3", tmp_path / "elsewhere")
    (copy / "flickr/3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AnnotationError, match="leads out of"):
        AflwDataset(copy)


def test_an_unknown_face_is_refused(dataset: AflwDataset) -> None:
    """A face that is not in the index is not guessed at."""
    with pytest.raises(AnnotationError, match=r"'flickr/0/image00000\.jpg#99999' is not a face"):
        dataset.read(SampleRef(key="x", locator="flickr/0/image00000.jpg#99999", split="test"))


def test_another_length_is_refused(tmp_path: Path) -> None:
    """A table of another length says nothing of who trains and who tests."""
    save(tmp_path, contents(30))
    with pytest.raises(AnnotationError, match="has 30 faces, AFLW has 24386"):
        AflwDataset(tmp_path)


def test_a_missing_copy_says_what_is_expected(tmp_path: Path, whole: Path) -> None:
    """No folder, no table, or a table without images is one error with what belongs there and its source."""
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"needs AFLWinfo_release\.mat and flickr/.*tugraz.*mmlab"):
            AflwDataset(root)
    shutil.copy(whole / "AFLWinfo_release.mat", tmp_path)
    with pytest.raises(DataError, match=r"has no image that AFLWinfo_release\.mat names"):
        AflwDataset(tmp_path)


def test_both_versions_of_matlab_give_the_same_table(tmp_path: Path) -> None:
    """A table saved as HDF5 is read as one of version 5; the header decides."""
    table = contents(25)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    save(tmp_path / "old", table)
    write_hdf5(tmp_path / "new/AFLWinfo_release.mat", table)
    old, new = read_table(tmp_path / "old"), read_table(tmp_path / "new")
    assert old.names == new.names == tuple(map(photo, table["nameList"]))
    assert np.array_equal(old.landmarks, new.landmarks)
    assert np.array_equal(old.visible, new.visible)
    assert np.array_equal(old.boxes, new.boxes)
    assert old.order.tolist() == new.order.tolist() == (table["ra"][0] - 1).tolist()


@pytest.mark.parametrize("column", [False, True])
def test_the_order_may_stand_or_lie(tmp_path: Path, column: bool) -> None:
    """`ra` is read as a row and as a column."""
    table = contents(25)
    save(tmp_path, {**table, "ra": table["ra"].T if column else table["ra"]})
    assert read_table(tmp_path).order.tolist() == (table["ra"][0] - 1).tolist()


NUMBER_OF_ROWS = 25


def changed(name: str, place: Any, value: Any) -> dict[str, Any]:
    table = contents(NUMBER_OF_ROWS)
    table[name][place] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**contents(NUMBER_OF_ROWS), "bbox": np.ones((24, 4))}, "bbox must be 25 x 4, got 24 x 4"),
        ({**contents(NUMBER_OF_ROWS), "data": np.ones((25, 42))}, "data must be 25 x 38, got 25 x 42"),
        ({**contents(NUMBER_OF_ROWS), "mask_new": np.ones((19, 25))}, "mask_new must be 25 x 19, got 19 x 25"),
        ({**contents(NUMBER_OF_ROWS), "ra": np.arange(1.0, 25)}, "ra must name each of the rows 1 to 25 once, got 24"),
        ({k: v for k, v in contents(NUMBER_OF_ROWS).items() if k != "ra"}, "ra is missing"),
        (changed("data", (4, 2), np.nan), r"data\(5, 3\) must be a finite number, got nan"),
        (changed("mask_new", (4, 2), 3), r"mask_new\(5, 3\) must be 0 or 1, got 3.0"),
        (changed("bbox", (4, 1), 0), r"bbox\(5, :\) must be x0 x1 y0 y1 of a box"),
        (changed("ra", (0, 3), 26), r"ra must name .* got 25, among them \[26.0\]"),
        (changed("ra", (0, 3), 0), r"ra must name .* got 25, among them \[0.0\]"),
        (changed("ra", (0, 3), 2.5), r"ra must name .* got 25, among them \[2.5\]"),
        (changed("ra", (0, slice(0, 2)), 7), "ra must name each of the rows 1 to 25 once"),
        (changed("nameList", 2, "../../etc/x.jpg"), r"nameList\{3\}: must be the path .*'../../etc/x.jpg'"),
        (changed("nameList", 2, "0/../../x.jpg"), r"nameList\{3\}: must be the path"),
        (changed("nameList", 2, "/etc/x.jpg"), r"nameList\{3\}: must be the path"),
        (changed("nameList", 2, "0\\x.jpg"), r"nameList\{3\}: must be the path"),
        (changed("nameList", 2, "0/x.jpg\0"), r"nameList\{3\}: must be the path"),
        (changed("nameList", 2, "0/x"), r"nameList\{3\}: must be the path"),
        (changed("nameList", 2, 1.0), r"nameList\{3\} must be a row of at most 1000 char"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    """What is missing, of another shape, no number, no row or no path below `flickr` is named with its place."""
    save(tmp_path, table)
    with pytest.raises(AnnotationError, match=rf"AFLWinfo_release\.mat: {message}"):
        read_table(tmp_path)


def test_a_cut_table_is_refused(tmp_path: Path) -> None:
    """A download that broke off is told as such, wherever it did."""
    save(tmp_path, contents(NUMBER_OF_ROWS))
    path = tmp_path / "AFLWinfo_release.mat"
    data = path.read_bytes()
    for kept in (0, 100, 130, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:kept])
        with pytest.raises(AnnotationError, match=r"AFLWinfo_release\.mat: "):
            read_table(tmp_path)
