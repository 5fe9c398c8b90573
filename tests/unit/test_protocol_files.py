"""Protocols in files: what a user writes is what is read, it travels whole, and every mistake is one clear sentence."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from adodn import protocols
from adodn.errors import ConfigError
from adodn.protocols import toml_file
from adodn.protocols.definitions import BUILT_IN
from adodn.protocols.layout import LandmarkProtocol
from adodn.protocols.maps import get_map

THUMB = """
name = "thumb"
num_landmarks = 4
flip_pairs = [[0, 1]]
closed_parts = ["mouth"]

[normalisers]
pupils = [[0], [1]]

[parts]
mouth = [2, 3]

[map_from.68]
points = [[36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47], [62], [66]]
residual = 0.02

[map_from.98]
points = [[96], [97], [90], [94]]
exact = true
"""
every_protocol = pytest.mark.parametrize("protocol", BUILT_IN, ids=lambda protocol: protocol.name)


def write(folder: Path, text: str) -> Path:
    path = folder / "thumb.toml"
    path.write_text(text)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    """Every key of a file reaches the protocol; points that no pair names lie on the midline."""
    protocol = protocols.get(str(write(tmp_path, THUMB)))

    assert protocol == LandmarkProtocol(
        name="thumb",
        num_landmarks=4,
        flip=(1, 0, 2, 3),
        normalisers={"pupils": ((0,), (1,))},
        parts={"mouth": (2, 3)},
        closed_parts=frozenset({"mouth"}),
        names=("point_0", "point_1", "mouth_0", "mouth_1"),
    )


def test_a_permutation_and_names_are_read(tmp_path: Path) -> None:
    """`flip` is the permutation itself, and names are taken as they are."""
    text = 'name = "m"\nnum_landmarks = 3\nflip = [2, 1, 0]\nnames = ["right_ear", "tip", "left_ear"]\n'
    protocol = toml_file.load(write(tmp_path, text)).protocol

    assert (protocol.flip, protocol.names) == ((2, 1, 0), ("right_ear", "tip", "left_ear"))


def test_maps_of_a_file_are_found(tmp_path: Path) -> None:
    """A file's own maps are found by its path and the other's name, with their quality."""
    path = str(write(tmp_path, THUMB))
    near, exact = get_map("68", path), get_map("98", path)
    landmarks = np.arange(136.0).reshape(68, 2)

    assert (near.name, exact.name) == ("68→thumb≈0.020", "98→thumb")
    assert near.apply(landmarks) == pytest.approx(np.array([[77, 78], [89, 90], [124, 125], [132, 133]]))
    assert get_map(path, path).exact
    with pytest.raises(ConfigError, match=r"no map from protocol .*thumb\.toml' to '68'"):
        get_map(path, "68")


def test_a_map_to_another_protocol_is_the_other_way_round(tmp_path: Path) -> None:
    """`[map.5]` gives each of 5's points from the file's own."""
    text = THUMB + "[map.5]\npoints = [[0], [1], [2, 3], [2], [2]]\nresidual = 0.5\n"
    known = get_map(str(write(tmp_path, text)), "5")

    assert known.rows == ((0,), (1,), (2, 3), (2,), (2,))
    assert (known.source.name, known.target.name, known.residual) == ("thumb", "5", 0.5)


@every_protocol
def test_a_protocol_travels_whole(protocol: LandmarkProtocol, tmp_path: Path) -> None:
    """Through TOML, JSON and pickle every built-in protocol comes back equal, names included."""
    path = write(tmp_path, toml_file.to_toml(protocol))

    assert toml_file.load(path).protocol == protocol
    assert protocols.protocol_from_json(protocols.protocol_to_json(protocol), where="manifest") == protocol
    assert pickle.loads(pickle.dumps(protocol)) == protocol


def test_a_protocol_that_files_cannot_hold_is_not_written() -> None:
    """A name with a line break or a quote is refused on the way out, so that no written file is unreadable."""
    odd = LandmarkProtocol(name='a"\nb', num_landmarks=1, flip=(0,), normalisers={})
    with pytest.raises(ConfigError, match="name must be 1 to 60 letters"):
        toml_file.to_toml(odd)
    with pytest.raises(ConfigError, match="name must be 1 to 60 letters"):
        protocols.protocol_to_json(odd)


def test_a_strangers_68_is_not_ours() -> None:
    """JSON that calls other points by a built-in name is refused; results under that name would not compare."""
    plain = json.loads(protocols.protocol_to_json(protocols.get("68")))
    plain["normalisers"]["outer_eye_corners"] = [[39], [42]]
    with pytest.raises(ConfigError, match=r"model\.json: name must be none of a built-in protocol .* got '68'"):
        protocols.protocol_from_json(json.dumps(plain), where="model.json")


MISTAKES = [
    ("num_landmarks = 4", "", "num_landmarks must be a whole number 1 … 1000, got None"),
    ("num_landmarks = 4", "num_landmarks = 4.0", "num_landmarks must be a whole number 1 … 1000, got 4.0"),
    ("num_landmarks = 4", "num_landmarks = true", "num_landmarks must be a whole number 1 … 1000, got True"),
    ("num_landmarks = 4", "num_landmarks = 1001", "num_landmarks must be a whole number 1 … 1000, got 1001"),
    ('name = "thumb"', "", "name must be 1 to 60 letters, digits, `_` and `-`"),
    ('name = "thumb"', 'name = "../thumb"', "got '../thumb'"),
    ('name = "thumb"', 'name = "68"', "name must be none of a built-in protocol with other points, got '68'"),
    ("flip_pairs = [[0, 1]]", "", "a protocol must have one of flip and flip_pairs"),
    (
        "flip_pairs = [[0, 1]]",
        "flip = [1, 0, 2, 3]\nflip_pairs = []",
        "a protocol must have one of flip and flip_pairs",
    ),
    ("flip_pairs = [[0, 1]]", "flip_pairs = [[0, 4]]", r"flip_pairs[0][1] must be a point 0 … 3, got 4"),
    ("flip_pairs = [[0, 1]]", "flip_pairs = [[0, -1]]", r"flip_pairs[0][1] must be a point 0 … 3, got -1"),
    ("flip_pairs = [[0, 1]]", "flip_pairs = [[0, 0]]", "flip_pairs[0] must be two different points, got [0, 0]"),
    ("flip_pairs = [[0, 1]]", "flip_pairs = [[0, 1], [1, 2]]", "flip_pairs[1] must have no point of an earlier pair"),
    ("flip_pairs = [[0, 1]]", "flip_pairs = 7", "flip_pairs must be a list of pairs of points, got 7"),
    ("flip_pairs = [[0, 1]]", "flip = [1, 0, 2]", "flip must have one entry for each of 4 landmarks, got [1, 0, 2]"),
    ("flip_pairs = [[0, 1]]", "flip = [1, 2, 0, 3]", "flip[0] must undo itself, but flip[1] is 2, got 1"),
    ("pupils = [[0], [1]]", "pupils = [[0], [true]]", "normalisers.pupils[1][0] must be a point 0 … 3, got True"),
    ("pupils = [[0], [1]]", "pupils = [[0], []]", "normalisers.pupils[1] must be a list of at least one point, got []"),
    ("pupils = [[0], [1]]", "pupils = [[0]]", "normalisers.pupils must be two lists of points"),
    ("pupils = [[0], [1]]", "outer_eye_corners = [[0, 2], [1]]", "outer_eye_corners is one point on each side"),
    ("mouth = [2, 3]", "mouth = [2, 2]", "parts.mouth must have every point once, got [2, 2]"),
    ("mouth = [2, 3]", '"a b" = [2, 3]', "a key of parts must be 1 to 60 letters"),
    ("mouth = [2, 3]", "mouth = 'x'", "parts.mouth must be a list of at least one point, got 'x'"),
    ('closed_parts = ["mouth"]', 'closed_parts = ["ear"]', "closed parts ['ear'] are no parts"),
    ('closed_parts = ["mouth"]', "closed_parts = [3]", "closed_parts[0] must be 1 to 60 letters"),
    ('closed_parts = ["mouth"]', 'names = ["a", "b"]', "names must be one for each of 4 landmarks, got 2"),
    ('closed_parts = ["mouth"]', 'names = ["a", "b", "a", "c"]', "these are twice: ['a']"),
    ('closed_parts = ["mouth"]', "exec = 'import os'", "a protocol must have no keys but name, num_landmarks, flip"),
    ("[map_from.68]", "[map_from.67]", "map_from.67: unknown landmark protocol '67'"),
    ("[map_from.68]", "[map.68]", "map.68.points must be a list of 68 lists of points of 'thumb'"),
    ("residual = 0.02", "", "map_from.68 must have a residual, or exact = true, got ['points']"),
    ("residual = 0.02", "residual = nan", "map_from.68.residual must be a number 0 … 1"),
    ("residual = 0.02", "residual = -1", "map_from.68.residual must be a number 0 … 1"),
    ("residual = 0.02", "exact = true", "map_from.68: map 68→thumb: an exact map picks single points"),
    ("exact = true", "exact = 'yes'", "map_from.98.exact must be true or false, got 'yes'"),
    ("exact = true", "exact = true\nrun = 1", "map_from.98 must have no keys but points, exact, residual, got 'run'"),
    ("[[96], [97], [90], [94]]", "[[96], [97], [90], [98]]", "map_from.98.points[3][0] must be a point 0 … 97, got 98"),
    ("[[96], [97], [90], [94]]", "[[96], [96], [90], [94]]", "rows 0 and 1 must mirror each other"),
    (
        "[[96], [97], [90], [94]]",
        "[[96], [97], [90]]",
        "map_from.98.points must be a list of 4 lists of points of '98'",
    ),
    ("[parts]", "[parts", "must be TOML"),
    ("num_landmarks = 4", "num_landmarks = 4\nnum_landmarks = 5", "must be TOML"),
    ("num_landmarks = 4", f"num_landmarks = {'9' * 5000}", "must be TOML"),
    ("mouth = [2, 3]", f"mouth = {'[' * 50_000}", "must be TOML"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES, ids=[wrong[:40] for _, wrong, _ in MISTAKES])
def test_every_mistake_is_one_sentence(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    """A wrong file is refused with its path, the key, the rule and the value, in one short line."""
    assert THUMB.count(right) == 1
    path = write(tmp_path, THUMB.replace(right, wrong))
    with pytest.raises(ConfigError) as caught:
        protocols.get(str(path))

    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """No file, a folder, a pipe that would never end, bytes that are no text, and a file too large: all are refused."""
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = \xff")
    (tmp_path / "large.toml").write_bytes(b"#" * (toml_file.MAX_BYTES + 1))
    refusals = {"none": "there is none", "folder": "there is none", "pipe": "there is none"}
    refusals |= {"bytes": "must be TOML", "large": "at most 200000 bytes, got 200001", "x" * 400: "cannot be read"}
    for name, message in refusals.items():
        path = tmp_path / f"{name}.toml"
        with pytest.raises(ConfigError) as caught:
            toml_file.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"a protocol must be a table, got \[\]"),
        ("null", "a protocol must be a table, got None"),
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ('{"name": "m", "num_landmarks": 1, "flip": [NaN]}', r"flip\[0\] must be a point 0 … 0, got nan"),
        ('{"name": "m", "num_landmarks": 1e3, "flip": [0]}', "num_landmarks must be a whole number"),
        ('{"__class__": "os.system"}', "must have no keys but name"),
        (" " * 200_001, "at most 200000 characters of JSON, got 200001"),
    ],
)
def test_json_is_checked_as_files_are(text: str, message: str) -> None:
    """A config from elsewhere is believed no more than a file."""
    with pytest.raises(ConfigError, match=rf"^model: .*{message}"):
        protocols.protocol_from_json(text, where="model")
