"""Files of a registered model against the hashes on record. On a server: tests/integration/test_tampering.py.

pytest tests/unit/test_registered_files.py
"""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adodn.errors import CheckpointError, ConfigError
from adodn.model_files import new_folder
from adodn.registry.files import FILES_TAG, compare_digests, digests_of, on_record
from adodn.registry.versions import ModelVersion

A, B = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b"))


def version(tag: str | None) -> ModelVersion:
    tags = {} if tag is None else {FILES_TAG: tag}
    return ModelVersion(name="adodn-68", version=3, run_id="r", source="m", tags=tags)


def test_digests_name_every_file_by_its_path(tmp_path: Path) -> None:
    """With slashes, sorted, hidden files included, folders not."""
    (tmp_path / "data" / "empty").mkdir(parents=True)
    (tmp_path / "data" / "model.pt2").write_bytes(b"a")
    (tmp_path / ".hidden").write_bytes(b"b")

    assert list(digests_of(tmp_path).items()) == [(".hidden", B), ("data/model.pt2", A)]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither to a file nor to nowhere."""
    (tmp_path / "model.pt2").symlink_to("/etc/hostname")

    with pytest.raises(CheckpointError, match=r"model\.pt2: is a link"):
        digests_of(tmp_path)


NAMES = st.sampled_from(["MLmodel", "data/model.pt2", "data/model.pth", "a"])
FILES = st.dictionaries(NAMES, st.sampled_from([A, B]), max_size=5)


@given(FILES, FILES)
def test_nothing_but_the_very_same_files_passes(recorded: dict[str, str], found: dict[str, str]) -> None:
    """Whatever differs is named, with the hashes that are known of it."""
    if recorded == found:
        compare_digests(recorded, found, "models:/adodn-68/3")
        return
    with pytest.raises(CheckpointError) as refused:
        compare_digests(recorded, found, "models:/adodn-68/3")

    differing = {name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name)}
    message = str(refused.value)
    named = [name for name in differing if f"{name!r}" in message or f"sha256 of {name} must" in message]
    assert message.startswith("models:/adodn-68/3: ")
    assert named
    assert any(recorded.get(name, "no sha256 is on record") in message for name in named)


@pytest.mark.parametrize(
    "tag",
    [
        None,
        "",
        "{",
        "[]",
        '"text"',
        json.dumps({"../up": A}),
        json.dumps({"/etc/passwd": A}),
        json.dumps({"data//x": A}),
        json.dumps({"data/./x": A}),
        json.dumps({"data\\x": A}),
        json.dumps({"x\0": A}),
        json.dumps({"": A}),
        json.dumps({"x": A.upper()}),
        json.dumps({"x": A[1:]}),
        json.dumps({"x": None}),
        json.dumps({"x": {"y": A}}),
    ],
)
def test_what_is_no_record_is_refused(tag: str | None) -> None:
    """The error names version and tag; no path leads out of the folder."""
    with pytest.raises(CheckpointError, match=rf"models:/adodn-68/3.*tag '{FILES_TAG}'"):
        on_record(version(tag), "models:/adodn-68/3")


def test_a_record_is_read_back() -> None:
    """As it was written."""
    known = {"MLmodel": A, "data/model.pt2": B, "..odd": A}
    assert on_record(version(json.dumps(known)), "here") == known


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """It is not there before its block ends, and never after an error; an empty one may be there before."""
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as aside:
        (aside / "half").write_text("…")
        assert not (tmp_path / "out").exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []

    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as aside:
        (aside / "whole").write_text("…")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "whole"]


@pytest.mark.parametrize("kind", ["file", "full", "link"])
def test_what_is_there_is_left_alone(tmp_path: Path, kind: str) -> None:
    """Nothing is replaced that somebody may want to keep."""
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "full":
        out.mkdir()
        (out / "mine").write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ConfigError, match="name one that is new"), new_folder(out):
        pass
    assert sorted(tmp_path.rglob("*")) == before
