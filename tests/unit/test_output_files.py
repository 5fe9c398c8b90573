"""What a command cannot write is one line, before it works for hours; what it writes is whole.

pytest tests/unit/test_output_files.py
"""

import sys
from pathlib import Path

import pytest

from adodn import cli
from adodn.errors import ConfigError
from adodn.output_files import make_folder, write_file, write_files

COMMANDS = {
    "evaluate": ["no-such-run", "--dataset", "s3://a/1", "--out"],
    "matrix": ["--model", "m", "--dataset", "s3://a/1", "--out"],
    "patterns": ["no-such-folder"],
    "predict": ["no-such-run", __file__, "--box", "1,2,30,40", "--out"],
    "report": ["no-such-run", "--out"],
    "search": ["--name", "s", "--trials", "1", "--smoke", "--out"],
    "study": ["ablation", "--dataset", "s3://a/1", "--out"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked of any server before."""
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "below" / "it")
    monkeypatch.setattr(sys, "argv", ["adodn", name, *COMMANDS[name], place])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: ") and said.count("\n") == 1
    assert str(tmp_path / "file") in said and "cannot be written" in said


@pytest.mark.parametrize("name", ["patterns", "predict", "report"])
def test_a_folder_is_no_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For commands that write one."""
    monkeypatch.setattr(sys, "argv", ["adodn", name, *COMMANDS[name], str(tmp_path)])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert (ended.value.code, f"{tmp_path}: is a folder" in capsys.readouterr().err) == (1, True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """It stays as it is."""
    (tmp_path / "file").write_text("mine")

    with pytest.raises(ConfigError, match=r"--out .*file: cannot be written .*name another"):
        make_folder(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nothing lies beside it in the end."""
    write_files(tmp_path / "new" / "folder", {"one": b"1", "two": b"2"})
    (tmp_path / "taken").mkdir()

    with pytest.raises(ConfigError, match=r"--save .*taken: cannot be written"):
        write_file(tmp_path / "taken", b"3", option="--save")

    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert found == {"new", "new/folder", "new/folder/one", "new/folder/two", "taken"}
