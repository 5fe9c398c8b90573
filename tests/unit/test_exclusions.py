"""Exclusion lists survive a round trip, and a wrong one is one clear error.

pytest tests/unit/test_exclusions.py
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adodn.data.exclusions import read_exclusions, write_exclusions
from adodn.errors import ConfigError

KEYS = st.text("abcXYZ019_-", min_size=1, max_size=20)
REASONS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40)


@given(exclusions=st.dictionaries(KEYS, REASONS, max_size=20))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, exclusions: dict[str, str]) -> None:
    """Any keys and reasons come back, commas and quotes included."""
    path = tmp_path_factory.mktemp("list") / "excluded.csv"

    write_exclusions(path, exclusions)

    assert read_exclusions(path) == exclusions
    assert [file.name for file in path.parent.iterdir()] == ["excluded.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty"),
        (b"face,why\na,b\n", ":1: the first line must read 'key,reason'"),
        (b"key,reason\na\n", ":2: a line is a key and a reason, got ['a']"),
        (b"key,reason\na,x\nb,y\na,z\n", ":4: key 'a' stands there twice"),
        (b"key,reason\n\xff,x\n", "not a CSV file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    """The error names the line and what must stand there."""
    path = tmp_path / "excluded.csv"
    path.write_bytes(text)

    with pytest.raises(ConfigError) as caught:
        read_exclusions(path)

    assert message in str(caught.value)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.csv.*No such file"):
        read_exclusions(tmp_path / "nowhere.csv")


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    """Nothing is written anywhere else."""
    with pytest.raises(ConfigError, match="cannot be written"):
        write_exclusions(tmp_path / "nowhere" / "excluded.csv", {})
