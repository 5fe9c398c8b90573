"""Reads MATLAB's `.mat` files, version 5 and 7.3: numbers, texts and images. No objects, no links, nothing runs.

    with matlab.open_mat(path, root) as mat:
        mat.numbers("bbox", (None, 4))              # [N, 4], rows and columns as MATLAB shows them
        mat.texts("nameList")                       # a cell array of char rows
    with matlab.open_hdf5(path, root) as mat:
        mat.pixels("IsT", 0)                        # one image of a cell array, [H, W] or [H, W, 3]

Version 7.3 is HDF5. Version 5 is read here rather than by `scipy.io.loadmat`, because that crashes the interpreter on
deeply nested cells and unpacks compressed variables without a limit, which files from strangers may use.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.files import inside, read_file
from adodn.errors import AnnotationError

Shape: TypeAlias = tuple[int | None, ...]
"""Rows, columns, …; None stands for any number."""

MAX_BYTES = 64_000_000
"""Of a version 5 file, and of what it unpacks to; AFLW's, the largest, has about 15 MB."""
MAX_NUMBERS = 8_000_000
MAX_CELLS = 100_000
MAX_TEXT = 1_000
MAX_PIXEL_BYTES = 192_000_000

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK = 512  # MATLAB puts its own header before the HDF5 file
_HEADER_5 = 128
_VERSION_5 = b"\x00\x01IM"  # little-endian, as every MATLAB of today writes it
_NUMBER_KINDS = "biuf"

_MATRIX, _COMPRESSED = 14, 15
_DATA_TYPES = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_TEXT_TYPES = {2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
_CELL_CLASS, _CHAR_CLASS = 1, 4
_NUMBER_CLASSES = range(6, 16)
_COMPLEX_FLAG = 0x800


class MatFile(Protocol):
    """What can be read of a file of either version."""

    def numbers(self, name: str, shape: Shape) -> NDArray[np.float64]:
        """A numeric or logical variable.

        Args:
            name: The variable.
            shape: The shape that it must have in MATLAB.

        Raises:
            AnnotationError: If it is missing, has another type or shape, or holds a number that is not finite.
        """
        ...

    def texts(self, name: str) -> list[str]:
        """A cell array, one row or column, of char rows.

        Raises:
            AnnotationError: If it is missing, or anything else.
        """
        ...


@contextmanager
def open_mat(path: Path, root: Path) -> Iterator[MatFile]:
    """Open a file of either version; its header says which it is.

    Args:
        path: The file.
        root: The dataset's folder, resolved; the file must lie in it.

    Raises:
        AnnotationError: If it leads out of `root`, cannot be read, or is neither version 5 nor 7.3.
    """
    real = inside(path, root)
    if _is_hdf5(real):
        with open_hdf5(path, root) as mat:
            yield mat
    else:
        yield Version5File(read_file(real, MAX_BYTES), str(path))


@contextmanager
def open_hdf5(path: Path, root: Path) -> "Iterator[Hdf5File]":
    """Open a file of version 7.3, whose images are then read one at a time.

    Args:
        path: The file.
        root: The dataset's folder, resolved; the file must lie in it.

    Raises:
        AnnotationError: If it leads out of `root`, cannot be read, or is not of version 7.3.
    """
    real = inside(path, root)
    if not _is_hdf5(real):
        raise AnnotationError(f"{path}: must be a MATLAB 7.3 file, which is HDF5; in MATLAB, save it with '-v7.3'")
    try:
        file = h5py.File(real, "r", locking=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise AnnotationError(f"{path}: is damaged or cut: {error}; fetch it again") from None
    with file:
        yield Hdf5File(file, str(path))


class Hdf5File:
    """Version 7.3: HDF5, with every array's dimensions reversed and cells behind references.

    Args:
        file: The file, open for reading.
        where: Its path, for messages.
    """

    def __init__(self, file: h5py.File, where: str) -> None:
        self._file = file
        self._where = where

    def numbers(self, name: str, shape: Shape) -> NDArray[np.float64]:
        """A numeric or logical variable, see `MatFile.numbers`."""
        with self._reading(name):
            dataset = self._variable(name)
            if dataset.dtype.kind not in _NUMBER_KINDS:
                raise self._error(name, f"must hold numbers, got {dataset.dtype!s}")
            array = self._array(dataset, name, MAX_NUMBERS)
        return _checked_numbers(array.T, shape, f"{self._where}: {name}")

    def texts(self, name: str) -> list[str]:
        """A cell array of char rows, see `MatFile.texts`."""
        with self._reading(name):
            return [self._text(reference, _cell(name, i)) for i, reference in enumerate(self._references(name))]

    def cell_count(self, name: str) -> int:
        """How many cells a cell array of one row or column has.

        Raises:
            AnnotationError: If it is missing or no such array.
        """
        with self._reading(name):
            return len(self._references(name))

    def pixels(self, name: str, index: int) -> NDArray[np.uint8]:
        """One image of a cell array.

        Args:
            name: The cell array.
            index: Its cell, from 0.

        Returns:
            `[H, W]` or `[H, W, 3]`, uint8 grey or RGB.

        Raises:
            AnnotationError: If there is no such cell, or it is no such image.
        """
        what = _cell(name, index)
        with self._reading(what):
            references = self._references(name)
            if not 0 <= index < len(references):
                raise self._error(what, f"{name} has {len(references)} cells")
            dataset = self._plain(self._file[references[index]], what)
            shape: tuple[int, ...] = dataset.shape or ()
            if dataset.dtype != np.uint8 or len(shape) not in (2, 3) or shape[:-2] not in ((), (3,)) or 0 in shape:
                raise self._error(what, f"must be a uint8 image, H x W or H x W x 3, got {dataset.dtype} {shape[::-1]}")
            return np.ascontiguousarray(self._array(dataset, what, MAX_PIXEL_BYTES).T)

    def _variable(self, name: str) -> Any:
        links = self._file.id.links
        if not links.exists(name.encode()):
            raise self._error(name, "is missing")
        if links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise self._error(name, "is a link, which MATLAB never writes and which is not followed")
        return self._plain(self._file[name], name)

    def _plain(self, found: Any, what: str) -> Any:
        if not isinstance(found, h5py.Dataset):
            raise self._error(what, "must be an array, got a group")
        if found.is_virtual or found.external:
            raise self._error(what, "keeps its data in other files, which are not opened")
        return found

    def _array(self, dataset: Any, what: str, limit: int) -> NDArray[Any]:
        sizes = [math.prod(shape) for shape in (dataset.shape, dataset.chunks) if shape is not None]
        if dataset.shape is None or max(sizes) > limit:
            raise self._error(what, f"must have at most {limit} elements, got shape {dataset.shape}")
        return np.asarray(dataset[()])

    def _references(self, name: str) -> list[Any]:
        dataset = self._variable(name)
        if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference:
            raise self._error(name, f"must be a cell array, got {dataset.dtype!s}")
        array = self._array(dataset, name, MAX_CELLS)
        if array.ndim != 2 or 1 not in array.shape:
            raise self._error(name, f"must be one row or column of cells, got shape {array.shape[::-1]}")
        return list(array.ravel())

    def _text(self, reference: Any, what: str) -> str:
        dataset = self._plain(self._file[reference], what)
        shape: tuple[int, ...] = dataset.shape or ()
        if dataset.dtype != np.uint16 or len(shape) != 2 or shape[1] != 1:
            raise self._error(what, f"must be a row of char, got {dataset.dtype} {shape[::-1]}")
        return str(self._array(dataset, what, MAX_TEXT).astype("<u2").tobytes().decode("utf-16-le"))

    def _error(self, what: str, rule: str) -> AnnotationError:
        return AnnotationError(f"{self._where}: {what} {rule}")

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Turn whatever HDF5 says of a damaged file into one error."""
        try:
            yield
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise self._error(what, f"cannot be read, the file is damaged: {error}; fetch it again") from None


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One variable or cell of a version 5 file, its header parsed and its data not yet."""

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    parts: Iterator[tuple[int, memoryview]]


class Version5File:
    """Version 5, little-endian, compressed or not.

    Args:
        data: The whole file.
        where: Its path, for messages.

    Raises:
        AnnotationError: If it is no such file, is cut, or unpacks to more than `MAX_BYTES`.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self._where = where
        if data[_HEADER_5 - 4 : _HEADER_5] != _VERSION_5:
            raise AnnotationError(
                f"{where}: must be a MATLAB file of version 5 (little-endian) or 7.3, begins with {data[:16]!r}"
            )
        variables = _unpacked(memoryview(data)[_HEADER_5:], where)
        self._variables = {_matrix(body, where).name: body for kind, body in variables if kind == _MATRIX}

    def numbers(self, name: str, shape: Shape) -> NDArray[np.float64]:
        """A numeric or logical variable, see `MatFile.numbers`."""
        matrix = self._variable(name)
        if matrix.kind not in _NUMBER_CLASSES or matrix.is_complex:
            raise AnnotationError(f"{self._where}: {name} must hold real numbers, got MATLAB class {matrix.kind}")
        kind, data = next(matrix.parts, (0, memoryview(b"")))
        dtype = np.dtype(_DATA_TYPES.get(kind, "V1"))
        if dtype.kind == "V" or len(data) != math.prod(matrix.shape) * dtype.itemsize:
            raise AnnotationError(
                f"{self._where}: {name} is damaged: {matrix.shape} does not fit its {len(data)} bytes"
            )
        array = np.frombuffer(data, dtype=dtype).reshape(matrix.shape, order="F")
        return _checked_numbers(array, shape, f"{self._where}: {name}")

    def texts(self, name: str) -> list[str]:
        """A cell array of char rows, see `MatFile.texts`."""
        matrix = self._variable(name)
        if matrix.kind != _CELL_CLASS or len(matrix.shape) != 2 or 1 not in matrix.shape:
            raise AnnotationError(f"{self._where}: {name} must be one row or column of cells, got {matrix.shape}")
        cells = list(islice(matrix.parts, MAX_CELLS + 1))
        if len(cells) != math.prod(matrix.shape):
            raise AnnotationError(f"{self._where}: {name} must have {matrix.shape} cells, got {len(cells)}")
        return [self._text(kind, body, _cell(name, i)) for i, (kind, body) in enumerate(cells)]

    def _variable(self, name: str) -> _Matrix:
        if name not in self._variables:
            raise AnnotationError(f"{self._where}: {name} is missing")
        return _matrix(self._variables[name], self._where)

    def _text(self, kind: int, body: memoryview, what: str) -> str:
        matrix = _matrix(body, self._where) if kind == _MATRIX else None
        is_row = matrix is not None and matrix.kind == _CHAR_CLASS and matrix.shape[0] == 1
        if matrix is None or not is_row or matrix.shape[1] > MAX_TEXT or len(body) > 5 * MAX_TEXT:
            raise AnnotationError(f"{self._where}: {what} must be a row of at most {MAX_TEXT} char")
        text_kind, data = next(matrix.parts, (0, memoryview(b"")))
        try:
            return bytes(data).decode(_TEXT_TYPES[text_kind])
        except (KeyError, UnicodeDecodeError):
            raise AnnotationError(f"{self._where}: {what} must be text, got {bytes(data[:40])!r}") from None


def flags(numbers: NDArray[np.float64], what: str) -> NDArray[np.bool_]:
    """Numbers as flags.

    Args:
        numbers: `[N, L]`, each 0 or 1.
        what: File and variable, for messages.

    Returns:
        `[N, L]`.

    Raises:
        AnnotationError: If a number is neither 0 nor 1.
    """
    odd = np.argwhere((numbers != 0) & (numbers != 1))
    if len(odd):
        row, column = odd[0]
        raise AnnotationError(f"{what}({row + 1}, {column + 1}) must be 0 or 1, got {float(numbers[row, column])!r}")
    return numbers.astype(np.bool_)


def _is_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_USER_BLOCK + len(_HDF5_SIGNATURE))
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from None
    return _HDF5_SIGNATURE in (head[: len(_HDF5_SIGNATURE)], head[_USER_BLOCK:])


def _elements(data: memoryview, where: str) -> Iterator[tuple[int, memoryview]]:
    """Type and data of each element of a version 5 file, or of a matrix in it."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise _cut(where)
        kind, size = struct.unpack_from("<II", data, at)
        begin, step = at + 8, 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if kind >> 16:  # up to four bytes of data stand in the tag itself, behind a type and a size of 16 bits each
            kind, size, begin, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        if begin + size > min(len(data), at + step):
            raise _cut(where)
        yield kind, data[begin : begin + size]
        at += step


def _unpacked(data: memoryview, where: str) -> Iterator[tuple[int, memoryview]]:
    """The elements of a version 5 file, none of them compressed any more."""
    left = MAX_BYTES
    for kind, body in _elements(data, where):
        if kind != _COMPRESSED:
            yield kind, body
            continue
        unpacker = zlib.decompressobj()
        try:
            plain = unpacker.decompress(body, left + 1)
        except zlib.error as error:
            raise AnnotationError(f"{where}: is damaged: {error}; fetch it again") from None
        left -= len(plain)
        if left < 0:
            raise AnnotationError(f"{where}: unpacks to more than {MAX_BYTES} bytes, which no such file does")
        if not unpacker.eof:
            raise _cut(where)
        yield from _elements(memoryview(plain), where)


def _matrix(body: memoryview, where: str) -> _Matrix:
    parts = _elements(body, where)
    header = dict(islice(parts, 3))
    flags, dims, name = (bytes(header.get(kind, b"")) for kind in (6, 5, 1))
    shape = struct.unpack(f"<{len(dims) // 4}i", dims[: len(dims) // 4 * 4])
    if len(flags) != 8 or len(shape) not in (2, 3) or min(shape) < 0 or 1 not in header:
        raise AnnotationError(f"{where}: holds something that is not a plain array, or is damaged; fetch it again")
    word = int.from_bytes(flags[:4], "little")
    return _Matrix(word & 0xFF, bool(word & _COMPLEX_FLAG), shape, name.decode("latin-1"), parts)


def _checked_numbers(array: NDArray[Any], shape: Shape, what: str) -> NDArray[np.float64]:
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("N" if want is None else str(want) for want in shape)
        raise AnnotationError(f"{what} must be {wanted}, got {' x '.join(map(str, array.shape))}")
    numbers = array.astype(np.float64)
    odd = np.argwhere(~np.isfinite(numbers))
    if len(odd):
        place = ", ".join(str(i + 1) for i in odd[0])
        raise AnnotationError(f"{what}({place}) must be a finite number, got {float(numbers[tuple(odd[0])])!r}")
    return numbers


def _cell(name: str, index: int) -> str:
    """A cell as MATLAB writes it, counted from 1."""
    return f"{name}{{{index + 1}}}"


def _cut(where: str) -> AnnotationError:
    return AnnotationError(f"{where}: is damaged or cut; fetch it again")
