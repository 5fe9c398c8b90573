"""COFW's two files: what a row becomes, what a copy may claim, and what is refused."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from adodn.datasets.cofw import CofwDataset
from adodn.errors import AnnotationError, DataError
from adodn.samples import SampleRef
from tests.mat_files import write_hdf5

SUFFIX = {"train": "Tr", "test": "T"}
OFFICIAL = {"train": 1345, "test": 507}


def faces(split: str, count: int, *, colour: bool = True) -> dict[str, Any]:
    """Made-up contents of one file, as MATLAB shows them; every fourth image of a colour file is grey."""
    draw = np.random.default_rng(count)
    images = [
        draw.integers(0, 256, (9, 7, 3) if colour and i % 4 != 3 else (9, 7), dtype=np.uint8) for i in range(count)
    ]
    places = draw.uniform(-2, 12, (count, 58)).round(3)
    occluded = draw.integers(0, 2, (count, 29)).astype(np.float64)
    boxes = np.tile([2.0, 3.0, 5.0, 4.0], (count, 1)) + np.arange(count)[:, None] % 3
    end = SUFFIX[split]
    return {f"Is{end}": images, f"phis{end}": np.hstack([places, occluded]), f"bboxes{end}": boxes}


def write(root: Path, split: str, count: int, *, colour: bool = True) -> dict[str, Any]:
    contents = faces(split, count, colour=colour)
    write_hdf5(root / f"COFW_{split}{'_color' if colour else ''}.mat", contents)
    return contents


def test_a_row_becomes_a_face(tmp_path: Path) -> None:
    """Face i has the pixels, the 29 points less one, the flags turned round, and the box's corners of row i."""
    contents = write(tmp_path, "test", 5)
    samples = list(CofwDataset(tmp_path))
    assert len(samples) == 5
    for i, sample in enumerate(samples):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.image))), contents["IsT"][i])
        x, y, occluded = contents["phisT"][i].reshape(3, 29).tolist()
        assert sample.landmarks.tolist() == [[x[k] - 1, y[k] - 1] for k in range(29)]
        assert sample.visible.tolist() == [flag == 0 for flag in occluded]
        left, top, width, height = contents["bboxesT"][i].tolist()
        assert sample.box == (left - 1, top - 1, left - 1 + width, top - 1 + height)


def test_images_are_png_files(tmp_path: Path) -> None:
    """An image is an encoded file, of which nothing is lost."""
    write(tmp_path, "test", 4)
    colour, *_, grey = CofwDataset(tmp_path)
    with Image.open(io.BytesIO(colour.image)) as first, Image.open(io.BytesIO(grey.image)) as last:
        assert (first.format, first.mode, first.size) == ("PNG", "RGB", (7, 9))
        assert (last.format, last.mode, last.size) == ("PNG", "L", (7, 9))


def test_a_whole_copy(tmp_path: Path) -> None:
    """With the official counts nothing is amiss, `cofw` holds all test faces, and LFPW's 845 come first."""
    for split, count in OFFICIAL.items():
        write(tmp_path, split, count)
    dataset = CofwDataset(tmp_path)
    assert dataset.problems == ()
    assert dataset.protocol.num_landmarks == 29
    refs = dataset.index()
    assert [ref.split for ref in refs] == ["train"] * 1345 + ["test"] * 507
    assert {ref.subsets for ref in refs[:1345]} == {()}
    assert {ref.subsets for ref in refs[1345:]} == {("cofw",)}
    for names in ([ref.key for ref in refs], [ref.locator for ref in refs], [ref.group for ref in refs]):
        assert len(set(names)) == 1852
    assert all(ref.key.replace("_", "").isalnum() for ref in refs)
    sources = {i: dataset.read(refs[i]).attributes.get("source") for i in (0, 844, 845, 1344, 1345)}
    assert sources == {0: "lfpw", 844: "lfpw", 845: "cofw", 1344: "cofw", 1345: None}


def test_a_part_of_a_copy_claims_less(tmp_path: Path) -> None:
    """A face short, there is no subset; without a file its faces are told missing."""
    write(tmp_path, "test", 506)
    dataset = CofwDataset(tmp_path)
    assert {ref.subsets for ref in dataset.index()} == {()}
    assert dataset.problems == (
        "COFW_train_color.mat is missing: no train faces",
        "COFW_test_color.mat: 506 faces found, 507 are official",
        "subset 'cofw' is not declared, because the test set must be whole",
    )


def test_sources_are_told_only_where_known(tmp_path: Path) -> None:
    """In a training file of another length nobody knows which faces are LFPW's."""
    write(tmp_path, "train", 3)
    assert [sample.attributes for sample in CofwDataset(tmp_path)] == [{}, {}, {}]


def test_the_grey_release_is_read_and_told(tmp_path: Path) -> None:
    """Without the colour file the grey one is read, and the copy says so."""
    contents = write(tmp_path, "test", 2, colour=False)
    dataset = CofwDataset(tmp_path)
    first, _ = dataset
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(first.image))), contents["IsT"][0])
    assert "COFW_test.mat: its images are grey; the colour release is COFW_test_color.mat" in dataset.problems


def test_colour_goes_before_grey(tmp_path: Path) -> None:
    """Where both releases are there, the colour one is read."""
    write(tmp_path, "test", 2, colour=False)
    write(tmp_path, "test", 3)
    assert [ref.locator for ref in CofwDataset(tmp_path).index()] == [f"COFW_test_color.mat#{i}" for i in (1, 2, 3)]


def test_the_index_reads_no_image(tmp_path: Path) -> None:
    """A bad image is told when its face is read, not before; its neighbours are read all the same."""
    contents = faces("test", 3)
    contents["IsT"][1] = np.zeros((4, 4, 2), dtype=np.uint8)
    write_hdf5(tmp_path / "COFW_test_color.mat", contents)
    dataset = CofwDataset(tmp_path)
    first, second, third = dataset.index()
    assert dataset.read(first).image and dataset.read(third).image
    with pytest.raises(AnnotationError, match=r"COFW_test_color\.mat: IsT\{2\} must be a uint8 image.*\(4, 4, 2\)"):
        dataset.read(second)


def changed(**changes: Any) -> dict[str, Any]:
    return {**faces("test", 3), **changes}


def with_entry(name: str, row: int, column: int, value: float) -> dict[str, Any]:
    contents = faces("test", 3)
    contents[name][row, column] = value
    return contents


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({k: v for k, v in changed().items() if k != "IsT"}, "IsT is missing"),
        ({k: v for k, v in changed().items() if k != "phisT"}, "phisT is missing"),
        (changed(IsT=np.zeros((3, 1))), "IsT must be a cell array, got float64"),
        (changed(phisT=np.zeros((3, 86))), "phisT must be 3 x 87, got 3 x 86"),
        (changed(phisT=np.zeros((2, 87))), "phisT must be 3 x 87, got 2 x 87"),
        (changed(phisT=["x", "y", "z"]), "phisT must hold numbers, got object"),
        (changed(bboxesT=np.ones((3, 5))), "bboxesT must be 3 x 4, got 3 x 5"),
        (with_entry("phisT", 1, 2, np.nan), r"phisT\(2, 3\) must be a finite number, got nan"),
        (with_entry("bboxesT", 2, 0, np.inf), r"bboxesT\(3, 1\) must be a finite number, got inf"),
        (with_entry("phisT", 2, 86, 0.5), r"phisT, occlusion\(3, 29\) must be 0 or 1, got 0.5"),
        (with_entry("bboxesT", 1, 3, 0), r"bboxesT\(2, :\) must be x y width height"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, contents: dict[str, Any], message: str) -> None:
    """What is missing, of another shape or type, or no number is named with file, variable and place."""
    write_hdf5(tmp_path / "COFW_test_color.mat", contents)
    with pytest.raises(AnnotationError, match=rf"COFW_test_color\.mat: {message}"):
        CofwDataset(tmp_path)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((2, 2, 2, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
        "x",
    ],
)
def test_other_images_are_refused(tmp_path: Path, image: Any) -> None:
    """An image is uint8, H x W or H x W x 3, and has pixels."""
    write_hdf5(tmp_path / "COFW_test_color.mat", changed(IsT=[image] * 3))
    dataset = CofwDataset(tmp_path)
    with pytest.raises(AnnotationError, match=r"IsT\{1\} must be a uint8 image"):
        dataset.read(dataset.index()[0])


def external_link(file: h5py.File, secret: Path) -> None:
    file["phisT"] = h5py.ExternalLink(str(secret), "/phisT")


def soft_link(file: h5py.File, secret: Path) -> None:
    file["phisT"] = h5py.SoftLink("/bboxesT")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((87, 3), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "phisT", (87, 3))
    file.create_virtual_dataset("phisT", layout)


def raw_bytes(file: h5py.File, secret: Path) -> None:
    file.create_dataset("phisT", (87, 3), "f8", external=[(str(secret), 0, 87 * 3 * 8)])


def group(file: h5py.File, secret: Path) -> None:
    file.create_group("phisT")


def huge(file: h5py.File, secret: Path) -> None:
    file.create_dataset("phisT", (10**6, 10**6), "f8", chunks=(1000, 1000))


def huge_chunk(file: h5py.File, secret: Path) -> None:
    file.create_dataset("phisT", (87, 3), "f8", chunks=(87, 10**6), maxshape=(87, None))


def nothing(file: h5py.File, secret: Path) -> None:
    file["phisT"] = h5py.Empty("f8")


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        (external_link, "is a link"),
        (soft_link, "is a link"),
        (virtual, "keeps its data in other files"),
        (raw_bytes, "keeps its data in other files"),
        (group, "must be an array, got a group"),
        (huge, "must have at most 8000000 elements"),
        (huge_chunk, "must have at most 8000000 elements"),
        (nothing, "must have at most 8000000 elements, got shape None"),
    ],
)
def test_tricks_of_hdf5_are_refused(tmp_path: Path, trick: Callable[[h5py.File, Path], None], message: str) -> None:
    """Nothing in the file leads to another file, or makes room for what no annotation needs."""
    secret = tmp_path / "secret.mat"
    write_hdf5(secret, changed())
    root = tmp_path / "root"
    root.mkdir()
    path = root / "COFW_test_color.mat"
    write_hdf5(path, changed())
    with h5py.File(path, "r+") as file:
        del file["phisT"]
        trick(file, secret)
    with pytest.raises(AnnotationError, match=f"phisT {message}"):
        CofwDataset(root)


def test_cells_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    """An empty reference, and one to a group, are told when the face is read."""
    path = tmp_path / "COFW_test_color.mat"
    write_hdf5(path, changed())
    with h5py.File(path, "r+") as file:
        file["IsT"][0, 1] = h5py.Reference()
        file["IsT"][0, 2] = file["#refs#"].ref
    dataset = CofwDataset(tmp_path)
    _, empty, to_group = dataset.index()
    with pytest.raises(AnnotationError, match=r"IsT\{2\} cannot be read, the file is damaged"):
        dataset.read(empty)
    with pytest.raises(AnnotationError, match=r"IsT\{3\} must be an array, got a group"):
        dataset.read(to_group)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, kept: float) -> None:
    """A download that broke off is told as such."""
    path = tmp_path / "COFW_test_color.mat"
    write(tmp_path, "test", 3)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(AnnotationError, match=r"COFW_test_color\.mat: (is damaged or cut|must be a MATLAB 7\.3 file)"):
        CofwDataset(tmp_path)


def test_damaged_pixels_are_refused(tmp_path: Path) -> None:
    """Compressed pixels that do not unpack are one error that names the cell."""
    path = tmp_path / "COFW_test_color.mat"
    write(tmp_path, "test", 1)
    with h5py.File(path, "r+") as file:
        file[file["IsT"][0, 0]].id.write_direct_chunk((0, 0, 0), b"not zlib")
    dataset = CofwDataset(tmp_path)
    with pytest.raises(AnnotationError, match=r"IsT\{1\} cannot be read, the file is damaged"):
        dataset.read(dataset.index()[0])


def test_an_older_mat_file_is_refused(tmp_path: Path) -> None:
    """A file of version 5 is none of COFW's, and the message says how to save it."""
    scipy.io.savemat(tmp_path / "COFW_test_color.mat", {"phisT": np.zeros((3, 87))})
    with pytest.raises(AnnotationError, match=r"must be a MATLAB 7\.3 file.*'-v7\.3'"):
        CofwDataset(tmp_path)


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    """A link that leads out of the root is an error, not a way to read other files."""
    write(tmp_path, "test", 3)
    root = tmp_path / "root"
    root.mkdir()
    (root / "COFW_test_color.mat").symlink_to(tmp_path / "COFW_test_color.mat")
    with pytest.raises(AnnotationError, match="leads out of"):
        CofwDataset(root)


def test_a_missing_copy_says_what_is_expected(tmp_path: Path) -> None:
    """No folder, or one without either file, is one error with the files' names and their source."""
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"COFW_train_color\.mat and COFW_test_color\.mat.*data\.caltech\.edu"):
            CofwDataset(root)


def test_an_unknown_face_is_refused(tmp_path: Path) -> None:
    """A face that is not in the index is not guessed at."""
    write(tmp_path, "test", 1)
    dataset = CofwDataset(tmp_path)
    with pytest.raises(AnnotationError, match=r"'COFW_test_color\.mat#2' is not a face"):
        dataset.read(SampleRef(key="x", locator="COFW_test_color.mat#2", split="test"))


def test_the_file_is_only_read(tmp_path: Path) -> None:
    """Reading leaves the file as it was, byte for byte."""
    path = tmp_path / "COFW_test_color.mat"
    write(tmp_path, "test", 2)
    before = path.read_bytes()
    assert len(list(CofwDataset(tmp_path))) == 2
    assert path.read_bytes() == before
