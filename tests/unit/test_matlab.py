"""The reader of MATLAB files: what other writers wrote it reads alike, and damage gives one error."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adodn.datasets.matlab import MAX_BYTES, Version5File, open_hdf5, open_mat
from adodn.errors import AnnotationError
from tests.mat_files import write_hdf5

SHAPE = (None, None)
TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "?")
NAMES = ["0/image00002.jpg", "x", "Ärger.png", "€uro", "2/a b.jpg"]


def saved(variables: dict[str, Any], *, compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def cells(values: list[Any]) -> Any:
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(mx_class: int, name: bytes, body: bytes) -> bytes:
    header = element(6, struct.pack("<II", mx_class, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, name)
    return element(14, header + body)


def version_5(body: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + body


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(TYPES), st.booleans())
def test_numbers_of_any_type_are_read(data: st.DataObject, dtype: str, compressed: bool) -> None:
    """What `scipy` saves as real numbers, of any type and size, comes back equal and in the same places."""
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    values = data.draw(
        arrays.arrays(dtype, shape, elements={"allow_nan": False, "allow_infinity": False} if "f" in dtype else None)
    )
    mat = Version5File(saved({"before": 1, "x": values, "after": "text"}, compressed=compressed), "a.mat")
    for _ in range(2):
        assert np.array_equal(mat.numbers("x", SHAPE), values.astype(np.float64))


@pytest.mark.parametrize("compressed", [False, True])
def test_texts_are_read(compressed: bool) -> None:
    """Rows of char come back as text, in order, whatever letters they hold."""
    mat = Version5File(saved({"names": cells(NAMES)}, compressed=compressed), "a.mat")
    assert mat.texts("names") == NAMES


def test_both_versions_read_alike(tmp_path: Path) -> None:
    """The header tells the version, and what is read does not depend on it."""
    numbers = np.arange(6.0).reshape(2, 3)
    write_hdf5(tmp_path / "new.mat", {"x": numbers, "flags": numbers > 2, "names": list(NAMES)})
    (tmp_path / "old.mat").write_bytes(saved({"x": numbers, "flags": numbers > 2, "names": cells(NAMES)}))
    for name in ("new.mat", "old.mat"):
        with open_mat(tmp_path / name, tmp_path) as mat:
            assert mat.numbers("x", (2, None)).tolist() == numbers.tolist()
            assert mat.numbers("flags", (2, 3)).tolist() == (numbers > 2).tolist()
            assert mat.texts("names") == NAMES
            with pytest.raises(AnnotationError, match=rf"{name}: nope is missing"):
                mat.texts("nope")
            with pytest.raises(AnnotationError, match=rf"{name}: x must be N x 2, got 2 x 3"):
                mat.numbers("x", (None, 2))


@pytest.mark.parametrize(
    "names",
    [cells(["a", 1.0]), cells(["a", np.array(["b", "c"])]), cells(["a" * 1001]), np.ones((2, 1)), "text"],
    ids=["a number", "two rows", "too long", "no cells", "no cells but text"],
)
def test_other_texts_are_refused(names: Any) -> None:
    """Only one column of short char rows is a list of texts."""
    with pytest.raises(AnnotationError, match=r"a\.mat: names"):
        Version5File(saved({"names": names}), "a.mat").texts("names")


@pytest.mark.parametrize(
    "cell", [np.ones((2, 1)), np.array([[0xD800]], np.uint16), np.ones((1, 2), np.uint16).T, "a" * 1001]
)
def test_other_texts_of_hdf5_are_refused(tmp_path: Path, cell: Any) -> None:
    """Only short char rows of whole letters are texts."""
    write_hdf5(tmp_path / "a.mat", {"names": ["a", cell]})
    with open_hdf5(tmp_path / "a.mat", tmp_path) as mat, pytest.raises(AnnotationError, match=r"a\.mat: names"):
        mat.texts("names")


def test_nested_cells_do_not_crash() -> None:
    """A million cells, one in the other, are refused like any cell that is no text."""
    header = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, b"")
    depth, step = 1_000_000, 8 + len(header)
    body = b"".join(struct.pack("<II", 14, (depth - i) * step - 8) + header for i in range(depth))
    mat = Version5File(version_5(matrix(1, b"names", body)), "a.mat")
    with pytest.raises(AnnotationError, match=r"names\{1\} must be a row of at most"):
        mat.texts("names")


def test_a_bomb_is_not_unpacked() -> None:
    """A compressed variable that grows beyond the limit is refused."""
    packed = zlib.compress(bytes(MAX_BYTES + 1), 9)
    with pytest.raises(AnnotationError, match=f"unpacks to more than {MAX_BYTES} bytes"):
        Version5File(version_5(struct.pack("<II", 15, len(packed)) + packed), "a.mat")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MATLAB 5.0",
        bytes(128),
        b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI",
        version_5(b"\x0f\x00\x00\x00\x08\x00\x00\x00not zlib"),
        version_5(element(14, b"")),
        version_5(element(14, bytes(24))),
        version_5(matrix(6, b"x", b"")[:-3]),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    """What is no MATLAB file, an old big-endian one, or a broken one is one error with the path."""
    path = tmp_path / "a.mat"
    path.write_bytes(data)
    with pytest.raises(AnnotationError, match=r"a\.mat: "), open_mat(path, tmp_path) as mat:
        mat.numbers("x", SHAPE)


@pytest.mark.parametrize("shape", [(1, 3), (2**31 - 1, 2**31 - 1), (-1, -2)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, int]) -> None:
    """The data must be as long as the shape says; no room is made on its word."""
    header = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", *shape)) + element(1, b"x")
    data = version_5(element(14, header + element(9, struct.pack("<dd", 1, 2))))
    with pytest.raises(AnnotationError, match=r"a\.mat: "):
        Version5File(data, "a.mat").numbers("x", SHAPE)


WHOLE = [
    saved({"x": np.arange(6.0).reshape(2, 3), "names": cells(NAMES)}, compressed=compressed)
    for compressed in (False, True)
]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(WHOLE), st.integers(0), st.binary(min_size=1, max_size=4), st.booleans())
def test_damage_gives_one_kind_of_error(whole: bytes, place: int, noise: bytes, cut: bool) -> None:
    """Whatever is overwritten or cut off, reading either works or says that the file is at fault."""
    at = place % len(whole)
    data = whole[:at] if cut else whole[:at] + noise + whole[at + len(noise) :]
    try:
        mat = Version5File(data, "a.mat")
        numbers, texts = mat.numbers("x", SHAPE), mat.texts("names")
    except AnnotationError as error:
        assert str(error).startswith("a.mat: ")
    else:
        assert np.isfinite(numbers).all() and all(isinstance(text, str) for text in texts)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is one error with the path and the reason."""
    with (
        pytest.raises(AnnotationError, match=r"absent\.mat: cannot be read: No such file"),
        open_mat(tmp_path / "absent.mat", tmp_path),
    ):
        pass
