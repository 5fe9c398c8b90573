"""300W's tree: which face belongs where, and what a copy may claim."""

import os
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from adodn import datasets
from adodn.errors import AnnotationError, ConfigError, DataError

IMAGE = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
LANDMARKS = [(i % 8 + 1, i // 8 + 1.5) for i in range(68)]
PTS = "version: 1\nn_points: 68\n{\n" + "".join(f"{x} {y}\n" for x, y in LANDMARKS) + "}\n"
OFFICIAL = {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135}


def add(root: Path, part: str, stem: str, suffix: str = ".jpg") -> Path:
    folder = root / part
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}{suffix}").write_bytes(IMAGE)
    annotation = folder / f"{stem}.pts"
    annotation.write_text(PTS)
    return annotation


def subsets(root: Path) -> dict[str, tuple[str, ...]]:
    return {Path(ref.locator).parent.as_posix(): ref.subsets for ref in datasets.open("300w", root).index()}


def test_landmarks_and_box_are_read(tmp_path: Path) -> None:
    """A face has its landmarks from 0, the tight box around them, and the image's own bytes."""
    add(tmp_path, "afw", "1_1")
    (sample,) = datasets.open("300w", tmp_path)
    assert sample.landmarks.tolist() == [[x - 1, y - 1] for x, y in LANDMARKS]
    assert sample.box == (0.0, 0.5, 7.0, 8.5)
    assert sample.image == IMAGE
    assert sample.visible.all()


def test_train_parts_and_groups(tmp_path: Path) -> None:
    """Faces of one photo share a group; a photo's own number is no face number."""
    for part, stem in [("afw", "134212_1"), ("afw", "134212_2"), ("lfpw/trainset", "image_0001")]:
        add(tmp_path, part, stem)
    add(tmp_path, "ibug", "image_092 _01")
    refs = {ref.locator: ref for ref in datasets.open("300w", tmp_path).index()}
    assert [ref.split for ref in refs.values()] == ["train", "train", "train", "test"]
    assert refs["afw/134212_1.pts"].group == refs["afw/134212_2.pts"].group == "afw/134212"
    assert refs["lfpw/trainset/image_0001.pts"].group == "lfpw_trainset/image_0001"
    assert refs["ibug/image_092 _01.pts"].group == "ibug/image_092"


@pytest.mark.parametrize("missing", [None, "helen/testset", "lfpw/testset", "ibug"])
def test_a_subset_is_declared_only_when_whole(tmp_path: Path, missing: str | None) -> None:
    """Common, Challenging and Full exist exactly where each of their parts has its official count."""
    for part, count in OFFICIAL.items():
        for i in range(count - (part == missing)):
            add(tmp_path, part, f"{i}_1")
    common = () if missing in ("helen/testset", "lfpw/testset") else ("common",)
    challenging = () if missing == "ibug" else ("challenging",)
    full = () if missing else ("full",)
    assert subsets(tmp_path) == {
        "helen/testset": ("helen", *common, *full),
        "lfpw/testset": ("lfpw", *common, *full),
        "ibug": ("ibug", *challenging, *full),
    }
    problems = datasets.open("300w", tmp_path).problems
    named = [problem for problem in problems if missing and problem.startswith(f"{missing}: ")]
    if missing:
        assert named == [f"{missing}: {OFFICIAL[missing] - 1} faces found, {OFFICIAL[missing]} are official"]


def test_keys_are_legal_and_differ(tmp_path: Path) -> None:
    """Names that differ by dots, blanks or folder alone still give different keys without dots."""
    stems = ["a b", "a.b", "a_b", "a-b", "a  b", "ä", "x" * 200]
    for stem in stems:
        add(tmp_path, "afw", stem)
        add(tmp_path, "ibug", stem)
    keys = [ref.key for ref in datasets.open("300w", tmp_path).index()]
    assert len(set(keys)) == len(keys) == 2 * len(stems)
    assert all(len(key) <= 95 and key.isascii() and key.replace("_", "").replace("-", "").isalnum() for key in keys)


def test_image_suffixes_in_any_case(tmp_path: Path) -> None:
    """`.JPG` and `.png` count as images."""
    add(tmp_path, "afw", "a", ".JPG")
    add(tmp_path, "afw", "b", ".png")
    assert len(list(datasets.open("300w", tmp_path))) == 2


def test_a_face_without_image_is_an_error(tmp_path: Path) -> None:
    """An annotation whose image is missing is named."""
    path = add(tmp_path, "afw", "a")
    path.with_suffix(".jpg").unlink()
    with pytest.raises(AnnotationError, match=r"afw/a\.pts: needs one image .* found 0"):
        datasets.open("300w", tmp_path)


def test_two_images_for_one_face_are_an_error(tmp_path: Path) -> None:
    """Which of two images is meant is not guessed."""
    add(tmp_path, "afw", "a")
    (tmp_path / "afw/a.png").write_bytes(IMAGE)
    with pytest.raises(AnnotationError, match="found 2"):
        datasets.open("300w", tmp_path)


def test_images_without_annotation_are_told(tmp_path: Path) -> None:
    """An image nobody annotated is left out, and the copy says so."""
    add(tmp_path, "afw", "a")
    (tmp_path / "afw/b.jpg").write_bytes(IMAGE)
    dataset = datasets.open("300w", tmp_path)
    assert len(dataset) == 1
    assert "1 images have no .pts file and are left out" in dataset.problems


@pytest.mark.parametrize("suffix", [".jpg", ".pts"])
def test_links_out_of_the_root_are_refused(tmp_path: Path, suffix: str) -> None:
    """A link that leads out of the root is an error, not a way to read other files."""
    outside = tmp_path / f"secret{suffix}"
    outside.write_bytes(IMAGE)
    link = add(tmp_path / "root", "afw", "a").with_suffix(suffix)
    link.unlink()
    link.symlink_to(outside)
    with pytest.raises(AnnotationError, match="leads out of"):
        datasets.open("300w", tmp_path / "root")


def test_a_missing_tree_says_what_is_expected(tmp_path: Path) -> None:
    """No folder, or a folder without any part, is one error that names the parts and their source."""
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"helen/trainset.*https://ibug"):
            datasets.open("300w", root)


def test_unknown_names_and_options_are_refused(tmp_path: Path) -> None:
    """What `open` does not know it refuses, with what it knows."""
    with pytest.raises(ConfigError, match="unknown dataset '300W'; available: 300vw, 300w, 300w-private, aflw"):
        datasets.open("300W", tmp_path)
    with pytest.raises(ConfigError, match="takes no options, got \\['size'\\]"):
        datasets.open("300w", tmp_path, size=1)
    with pytest.raises(ConfigError, match="give its root"):
        datasets.open("300w")
    with pytest.raises(ConfigError, match="takes no root"):
        datasets.open("synthetic", tmp_path)
    with pytest.raises(ConfigError, match="num_trane"):
        datasets.open("synthetic", num_trane=1)


def _shared() -> Path:
    named = os.environ.get("ADODN_SHARED_DATA")
    return Path(named) if named else Path(__file__).parents[3] / "shared/data"


@pytest.mark.skipif(not (_shared() / "300w").is_dir(), reason="needs the 300W images, see ADODN_SHARED_DATA")
def test_real_copy_reads_whole() -> None:
    """Each real face has its landmarks inside or near its image, and its official split."""
    dataset = datasets.open("300w", _shared() / "300w")
    assert {ref.split for ref in dataset.index()} == {"train", "test"}
    refs = dataset.index()[::97]
    for sample in map(dataset.read, refs):
        height, width, *_ = simplejpeg.decode_jpeg_header(sample.image)
        inside = (sample.landmarks > -8).all(axis=1) & (sample.landmarks < (width + 8, height + 8)).all(axis=1)
        assert inside.mean() > 0.9, sample.ref.locator
