"""Configs as files: they come back as they were, and nothing hostile gets through.

pytest tests/unit/test_config_file.py
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from adodn import protocols, recipes
from adodn.cli import build
from adodn.config_file import MAX_BYTES, config_file, read_config_file
from adodn.errors import ConfigError

WRITTEN = json.loads(config_file(recipes.adodn_smoke(), about={"search": "night"}))


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "best.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def changed(path: str, value: object) -> dict[str, Any]:
    """The file with one thing in it changed, and the rest as it was."""
    tree: dict[str, Any] = json.loads(json.dumps(WRITTEN))
    *parents, leaf = path.split("/")
    node = tree
    for parent in parents:
        node = node[parent]
    node[leaf] = value
    return tree


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_every_recipe_comes_back(tmp_path: Path, name: str) -> None:
    """Config, fingerprint and origin are those that were written."""
    config = recipes.get(name).with_fields({})
    found = read_config_file(written(tmp_path, config_file(config, about={"search": "night"})))

    assert found.config == config
    assert found.config.fingerprint() == json.loads((tmp_path / "best.json").read_text())["fingerprint"]
    assert found.about == {"search": "night"}


def test_data_stays_behind() -> None:
    """A file of an experiment on data is that of its recipe."""
    on_data = recipes.adodn_smoke().on_dataset("ab" * 32, protocols.get("98"))

    assert config_file(on_data, about={}) == config_file(recipes.adodn_smoke(), about={})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b'{"schema": NaN}',
        b"[" + b"1" * 5000 + b"]",
        b" " * (MAX_BYTES + 1),
        [],
        {},
        WRITTEN | {"extra": 1},
        changed("schema", 2),
        changed("about", []),
        changed("fingerprint", "0" * 12),
        changed("fingerprint", None),
        changed("experiment", None),
        changed("experiment/train/epochs", 4),
        changed("experiment/train/epochs", -1),
        changed("experiment/train/colour", "red"),
        changed("experiment/name", "../../elsewhere"),
        changed("experiment/name", "x; rm -rf y"),
        changed("experiment/model/protocol", "/etc/protocol.toml"),
        changed("experiment/model/initial_weights", "../../other"),
        changed("experiment/train/initial_model", "https://example.org/x"),
        changed("experiment/data/augment/occlusion_patterns", "file:///etc/passwd"),
        changed("experiment/data/dataset", "ab" * 32),
        changed("experiment/data/sources", [{"name": "a", "dataset": "b", "protocol": "/x.toml"}]),
    ],
)
def test_what_is_no_such_file_is_one_error(tmp_path: Path, content: object) -> None:
    """It names the file, and nothing else comes out."""
    with pytest.raises(ConfigError, match=r"best\.json"):
        read_config_file(written(tmp_path, content))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: None, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A folder, a pipe that would wait for ever, nothing at all, or a file without an end."""
    make(tmp_path / "best.json")

    with pytest.raises(ConfigError, match=r"best\.json: no such file, or not a plain one"):
        read_config_file(tmp_path / "best.json")


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.text(), st.lists)) | st.binary())
def test_nothing_else_ever_comes_out(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    """Whatever stands in the file, it is a ConfigError."""
    with pytest.raises(ConfigError):
        read_config_file(written(tmp_path_factory.mktemp("any"), content))


@pytest.mark.parametrize("words", [[], ["--recipe", "adodn_smoke", "--config", "best.json"], ["--config", "no.json"]])
def test_train_takes_a_recipe_or_a_file(words: list[str]) -> None:
    """Both, none, or a file that is not there is refused before anything is asked of a server."""
    done = CliRunner().invoke(build("train"), ["train", "--dataset", "s3://adodn/x", *words])

    assert isinstance(done.exception, ConfigError)
    assert "no.json" in str(done.exception) or "either --recipe or --config" in str(done.exception)


def test_differences_make_one_experiment_the_other() -> None:
    """By dotted fields; of the same experiment there are none."""
    one = recipes.get("adodn_smoke")
    other = one.with_fields({"train.seed": one.train.seed + 1, "name": "other"})

    assert one.differences(other) == {"train.seed": other.train.seed, "name": "other"}
    assert one.with_fields(one.differences(other)) == other
    assert one.with_fields(dict(one.fields())) == one
    assert one.differences(one) == {}
