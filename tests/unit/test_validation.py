"""Validation finds the faults that were planted on disk, and nothing else.

pytest tests/unit/test_validation.py
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adodn import datasets, protocols
from adodn.data import images
from adodn.data.crop import stored_face
from adodn.data.manifest import ImagePolicy
from adodn.data.plan import plan
from adodn.errors import ConfigError, DataError
from adodn.samples import FaceSample, SampleRef
from adodn.validation import Report, publish, validate
from adodn.validation.findings import CHECKS
from tests import faulty_faces

COUNTS = {"num_train": 3, "num_val": 1, "num_common": 1, "num_challenging": 1}


class Changed:
    """Rendered faces with refs and samples changed by the test."""

    name, protocol, problems = "changed", protocols.get("68"), ()

    def __init__(self, refs: dict[int, dict[str, str]], samples: dict[int, dict[str, object]]) -> None:
        self._raw = datasets.open("synthetic", **COUNTS)
        self._index = [replace(ref, **refs.get(face, {})) for face, ref in enumerate(self._raw.index())]  # type: ignore[arg-type]
        self._samples = samples

    def index(self) -> Sequence[SampleRef]:
        return self._index

    def read(self, ref: SampleRef) -> FaceSample:
        face = self._index.index(ref)
        return replace(self._raw.read(ref), **self._samples.get(face, {}))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._index)

    def __len__(self) -> int:
        return len(self._index)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], Report]:
    root = tmp_path_factory.mktemp("300w")
    faults = faulty_faces.plant(root)
    return root, faults, validate(datasets.open("300w", root))


def found(report: Report) -> Counter[tuple[str, str]]:
    return Counter((finding.key, finding.check) for finding in report.findings)


def test_planted_faults_are_found_and_nothing_else(planted: tuple[Path, dict[str, str], Report]) -> None:
    """Each faulty face has one finding, of the check its fault belongs to; clean faces have none."""
    _, faults, report = planted

    assert found(report) == Counter(faults.items())


def test_refused_is_what_sharding_refuses(planted: tuple[Path, dict[str, str], Report]) -> None:
    """A face has an error if and only if reading or storing it raises, but for a normaliser of zero."""
    root, _, report = planted
    raw = datasets.open("300w", root)

    refused = set()
    for ref in raw.index():
        try:
            stored_face(raw.read(ref), ImagePolicy())
        except DataError:
            refused.add(ref.key)

    errors = {finding.key for finding in report.findings if finding.severity == "error"}
    assert errors == refused | {"helen_trainset_eyes"}
    assert report.num_refused() == len(errors)


def test_sentences_have_rule_and_value(planted: tuple[Path, dict[str, str], Report]) -> None:
    """The moved point is named by index and name, and each planted value stands in its sentence."""
    _, _, report = planted
    sentences = {finding.key.removeprefix("helen_trainset_"): finding.sentence for finding in report.findings}

    assert "33 (nose_base_centre)" in sentences["moved"]
    assert "should be 1, is 6" in sentences["turned"]
    assert "n_points says 67" in sentences["few"]
    assert "'helen_testset_mirror'" in sentences["clean3"]
    assert "mirrored" in sentences["clean3"]
    assert [finding.points for finding in report.of("landmark-outlier")] == [(33,)]


def test_threads_change_nothing(planted: tuple[Path, dict[str, str], Report]) -> None:
    """One thread and five make the same report."""
    root, _, report = planted

    assert (
        validate(datasets.open("300w", root), threads=1) == validate(datasets.open("300w", root), threads=5) == report
    )


def test_keys_are_judged_by_the_plan() -> None:
    """An illegal key, a key that is there twice and an unknown split are errors, and the plan refuses each of them."""
    for change, faces in (
        ({0: {"key": "a.b"}}, 1),
        ({0: {"key": "a"}, 1: {"key": "a"}}, 2),
        ({0: {"split": "dev"}}, 1),
    ):
        dataset = Changed(change, {})

        assert validate(dataset).counts() == {"illegal-key": faces}
        with pytest.raises(DataError, match="a key is unique"):
            plan(dataset, ImagePolicy())


def test_a_group_in_two_splits_is_a_leak() -> None:
    """The face of the earlier split is reported, with the one it collides with."""
    report = validate(Changed({0: {"group": "ann"}, 4: {"group": "ann"}}, {}))

    (finding,) = report.findings
    assert (finding.check, finding.face, finding.other) == ("group-across-splits", 0, 4)


def test_a_box_beside_the_landmarks_is_found() -> None:
    """A box that ends left of the landmarks is a warning."""
    report = validate(Changed({}, {2: {"box": (0.0, 0.0, 9.0, 9.0)}}))

    assert [(finding.face, finding.check) for finding in report.findings] == [(2, "box-off-landmarks")]


def test_sides_exchanged_everywhere_are_the_datasets_fault() -> None:
    """A dataset annotated with the viewer's right has no odd face, but a problem that says so."""
    flip = list(protocols.get("68").flip)
    plain = datasets.open("synthetic", num_train=60, num_val=0, num_common=0, num_challenging=0)
    swapped = Changed({}, {})
    swapped._index = list(plain.index())
    swapped._samples = {face: {"landmarks": sample.landmarks[flip]} for face, sample in enumerate(plain)}

    report = validate(swapped)

    assert report.counts() == {}
    assert len(report.problems) == 1
    assert "of 60 faces the right point of 'outer_eye_corners' lies right of the left one" in report.problems[0]
    assert validate(plain).problems == ()


def test_a_dataset_without_faces_is_refused() -> None:
    """It is named."""
    with pytest.raises(DataError, match="has no faces"):
        validate(datasets.open("synthetic", num_train=0, num_val=0, num_common=0, num_challenging=0))


def test_the_folder_holds_the_whole_report(planted: tuple[Path, dict[str, str], Report], tmp_path: Path) -> None:
    """JSON with every finding, canonical and equal each time; Markdown; a sheet for each check, red where flagged."""
    root, faults, report = planted
    folder = tmp_path / "report"
    raw = datasets.open("300w", root)

    publish(report, raw, folder)
    first = (folder / "report.json").read_bytes()
    publish(report, raw, folder)

    content = json.loads(first)
    assert (folder / "report.json").read_bytes() == first
    assert {(entry["key"], entry["check"]) for entry in content["findings"]} == set(faults.items())
    assert content["refused"] == report.num_refused()
    sheets = {f"worst-{check}.jpg" for check in set(faults.values())}
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", *sheets}
    assert {path.name for path in tmp_path.iterdir()} == {"report"}
    assert all(check in (folder / "report.md").read_text() for check in report.counts())
    assert red_pixels(folder / "worst-landmark-outlier.jpg") > 10
    assert red_pixels(folder / "worst-unreadable-face.jpg") == 0


def red_pixels(path: Path) -> int:
    pixels = images.decode(path.read_bytes(), path.name).astype(int)
    return int(((pixels[..., 0] > 200) & (pixels[..., 1:] < 80).all(axis=-1)).sum())


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    """Files that are not a report's are never replaced, also beside a report."""
    raw = datasets.open("synthetic", **COUNTS)
    report = validate(raw)
    for name in ("notes.txt", "report.json"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text("mine")

        with pytest.raises(ConfigError, match="not of a validation report"):
            publish(report, raw, folder)

        assert [path.read_text() for path in folder.iterdir()] == ["mine"]


def test_markdown_shows_names_as_they_stand(tmp_path: Path) -> None:
    """A file name of a stranger makes no link, image, markup or further row."""
    raw = Changed({0: {"key": "a|b", "locator": "<img src=x>![x](http://x)\n| row |"}}, {})

    publish(validate(raw), raw, tmp_path / "report")

    text = (tmp_path / "report" / "report.md").read_text()
    assert r"\<img src=x\>\!\[x\](http://x) \| row \|" in text
    assert "<img" not in text.replace(r"\<img", "")


def test_every_check_is_documented() -> None:
    """The page on validation has a row for each check, with its severity."""
    page = (Path(__file__).parents[2] / "docs" / "validate.md").read_text()

    for name, check in CHECKS.items():
        assert f"| `{name}` | {check.severity} |" in page


def test_real_faces_raise_few_alarms(shared_data: Path) -> None:
    """Sharding takes all faces of the real 300W, and at most one in a hundred is reported."""
    report = validate(datasets.open("300w", shared_data / "300w"))

    assert report.num_refused() == 0
    assert len(report.findings) <= report.num_faces / 100


def test_an_interruption_ends_the_work() -> None:
    """After Ctrl-C no more faces are read than were already waiting."""
    read = []

    class Counting(Changed):
        def read(self, ref: SampleRef) -> FaceSample:
            read.append(ref.key)
            return super().read(ref)

    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    dataset = Counting({}, {})
    dataset._index = [replace(dataset._index[0], key=f"face{number}") for number in range(200)]
    with pytest.raises(KeyboardInterrupt):
        validate(dataset, threads=2, progress=interrupt)

    assert len(read) < 20


def test_nothing_is_compared_in_flat_images() -> None:
    """Images of one colour are not taken for copies of each other."""
    grey = images.encode(np.full((160, 160, 3), 120, np.uint8), quality=95)
    black = images.encode(np.zeros((160, 160, 3), np.uint8), quality=95)

    assert validate(Changed({}, {0: {"image": grey}, 4: {"image": black}})).counts() == {}
