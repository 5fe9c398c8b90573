"""`adodn validate` on small folders: table or JSON, exit codes, and the exclusion list.

pytest tests/unit/test_validate_command.py
"""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from adodn.cli import build
from adodn.data.exclusions import read_exclusions, write_exclusions
from adodn.errors import AdodnError, ConfigError, DataError
from tests import faulty_faces
from tests.faulty_faces import TEST, TRAIN


@pytest.fixture(scope="module")
def faces() -> list[faulty_faces.Face]:
    return faulty_faces.rendered(4)


@pytest.fixture
def clean(tmp_path: Path, faces: list[faulty_faces.Face], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sound faces; the test runs in the folder above."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        faulty_faces.write(tmp_path / "raw", TRAIN, f"face{number}", faces[number].image, faces[number].landmarks)
    return tmp_path / "raw"


@pytest.fixture
def faulty(clean: Path, faces: list[faulty_faces.Face]) -> Path:
    """The same, with a face that is no image and a train face that is in the test set too."""
    faulty_faces.write(clean, TRAIN, "text", b"no image", faces[3].landmarks)
    faulty_faces.write(clean, TEST, "copy", faces[0].image, faces[0].landmarks)
    return clean


def validate(*words: object) -> Result:
    return CliRunner().invoke(build("validate"), ["validate", "300w", *map(str, words)])


def test_a_sound_dataset_passes(clean: Path) -> None:
    """Exit code 0, the report's path as the last line, and nothing but the report is new."""
    done = validate(clean)

    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "adodn-validate-300w/report.md"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["adodn-validate-300w", "raw"]


def test_a_face_that_sharding_refuses_is_an_error(faulty: Path) -> None:
    """The table is printed, the report written, and the error says how many faces and the way out."""
    done = validate(faulty, "--out", "report")

    assert isinstance(done.exception, DataError)
    assert "would refuse 1 of 5 faces; mend them, or list them by --fix FILE" in str(done.exception)
    assert "image-refused" in done.stdout
    assert (Path("report") / "worst-image-refused.jpg").is_file()


def test_json_is_one_object(faulty: Path) -> None:
    """Counts and severities per check, and where the report is."""
    done = validate(faulty, "--json")

    answer = json.loads(done.stdout)
    assert answer["checks"] == {
        "image-refused": {"faces": 1, "severity": "error"},
        "duplicate-across-splits": {"faces": 1, "severity": "warning"},
    }
    assert (answer["faces"], answer["refused"], answer["left"], answer["excluded"]) == (5, 1, 1, [])
    assert json.loads((Path(answer["report"]) / "report.json").read_text())["kind"] == "adodn-validation-report"


def test_fix_lists_errors_and_dropped_warnings(faulty: Path) -> None:
    """The list has the refused face, the duplicate only when asked for, and lines that were there before."""
    before = {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()}
    write_exclusions(Path("list.csv"), {"by_hand": "blurred"})

    first = validate(faulty, "--fix", "list.csv")
    errors = read_exclusions(Path("list.csv"))
    second = validate(faulty, "--fix", "list.csv", "--drop", "duplicate-across-splits")

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "--exclude list.csv" in first.stdout
    assert set(errors) == {"by_hand", "helen_trainset_text"}
    assert errors["helen_trainset_text"].startswith("image-refused: ")
    assert set(read_exclusions(Path("list.csv"))) == {*errors, "helen_trainset_face0"}
    assert {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()} == before


def test_fix_never_overwrites_another_file(clean: Path) -> None:
    """A file that is no exclusion list, such as an annotation, is refused before any work."""
    target = clean / TRAIN / "face0.pts"
    before = target.read_bytes()

    done = validate(clean, "--fix", target)

    assert isinstance(done.exception, ConfigError)
    assert target.read_bytes() == before
    assert not Path("adodn-validate-300w").exists()


def test_nothing_left_is_an_error(tmp_path: Path, faces: list[faulty_faces.Face]) -> None:
    """A list of all faces does not make the exit code 0."""
    faulty_faces.write(tmp_path / "raw", TRAIN, "text", b"no image", faces[0].landmarks)

    done = validate(tmp_path / "raw", "--out", tmp_path / "report", "--fix", tmp_path / "list.csv")

    assert isinstance(done.exception, DataError)
    assert "no face is left" in str(done.exception)


@pytest.mark.parametrize("words", [["--drop", "tiny"], ["--drop", "tiny-face"], ["--option", "x"], ["--what"]])
def test_wrong_arguments_are_usage_errors(clean: Path, words: list[str]) -> None:
    """Exit code 2, and no report."""
    assert validate(clean, *words).exit_code == 2
    assert not Path("adodn-validate-300w").exists()


def test_what_cannot_be_opened_is_one_error(tmp_path: Path) -> None:
    """A missing folder is named, as by `adodn shard`."""
    done = validate(tmp_path / "nowhere", "--out", tmp_path / "report")

    assert isinstance(done.exception, AdodnError)
    assert "nowhere" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
