"""Commands with no home to write to, in a folder with a space and an é, and on a terminal that knows only ASCII.

pytest tests/unit/test_surroundings.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BARE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
"""Python takes UTF-8 in the locale C unless it is told not to."""


@pytest.fixture
def bare(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A working folder and an environment in which nobody, not even root, can write to HOME."""
    folder = tmp_path / "sp ace é"
    folder.mkdir()
    root = str(Path(__file__).resolve().parents[2])
    known = {name: value for name, value in os.environ.items() if not name.startswith("ADODN_")}
    mine = {"HOME": "/proc/nobody", "ADODN_HOME": str(folder / "home"), "PYTHONPATH": root}
    return folder, {**known, **BARE, **mine}


def adodn(bare: tuple[Path, dict[str, str]], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    folder, environment = bare
    command = [sys.executable, "-m", "adodn.cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("words", [("--help",), ("describe", "adodn_smoke")], ids=lambda words: words[0])
def test_what_a_terminal_cannot_show_is_a_question_mark(bare: tuple[Path, dict[str, str]], words: tuple[str]) -> None:
    """Both print ×, ² or …"""
    done = adodn(bare, *words)

    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "?" in done.stdout and done.stdout.isascii()


def test_a_folder_with_a_space_and_an_e_acute_can_be_home(bare: tuple[Path, dict[str, str]]) -> None:
    """The tests of all services run in one, too (`tests/conftest.py`)."""
    done = adodn(bare, "down", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) is not None
