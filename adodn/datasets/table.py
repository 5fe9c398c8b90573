"""A user's own faces as one table, CSV or Parquet, a row for each face. It reads no image.

    own/faces.csv       or own/faces.parquet
    own/images/...      or wherever `image` leads, inside `own`

Columns: `image`; `x0`, `y0`, `x1`, `y1`, … of the landmarks, in pixels, (0, 0) being the centre of the top-left one;
and, where there is something to say, `visible0`, `visible1`, … (0 or 1), `box_x0` … `box_y1`, `split`
(train, val or test), `subset` (names parted by `;`), `group` (faces that no split may part, e.g. the person). Whatever
else a table has is kept as attributes.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from adodn.datasets.files import inside, is_file
from adodn.datasets.listed import ListedDataset, ListedFace
from adodn.datasets.own import box_of, image_beside
from adodn.datasets.w300 import safe_key
from adodn.errors import AnnotationError, DataError
from adodn.protocols import LandmarkProtocol
from adodn.samples import SampleRef

_FILES = ("faces.csv", "faces.parquet")
_SPLITS = ("train", "val", "test")
_BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
_POINT = re.compile(r"(?:[xy]|visible)[0-9]+")
_WORDS = ("image", "split", "subset", "group")

Row = Mapping[str, Any]


class TableDataset(ListedDataset):
    """Faces of a table.

    Args:
        root: Folder with `faces.csv` or `faces.parquet`.
        protocol: What the landmarks are.

    Raises:
        DataError: If there is no table, or there are two.
        AnnotationError: If the table cannot be read, lacks a column, or a row breaks a rule; the message names it.
    """

    name = "table"

    def __init__(self, root: Path, protocol: LandmarkProtocol) -> None:
        self.protocol = protocol
        root = root.resolve()
        found = [root / name for name in _FILES if is_file(root / name)]
        if len(found) != 1:
            raise DataError(f"{root}: needs one table, {' or '.join(_FILES)}, found {len(found)}")
        table = _read(inside(found[0], root))
        _check_columns(table.column_names, found[0], protocol)
        rows = enumerate(table.to_pylist(), start=1)
        faces = [_face(row, found[0], number, protocol) for number, row in rows]
        faces.sort(key=lambda face: _SPLITS.index(face.ref.split))
        super().__init__(root, faces, ())


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        return pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise AnnotationError(f"{path}: cannot be read as a table: {error}") from None


def _check_columns(names: list[str], path: Path, protocol: LandmarkProtocol) -> None:
    needed = [f"{axis}{point}" for point in range(protocol.num_landmarks) for axis in "xy"]
    missing = [name for name in ("image", *needed) if name not in names]
    if missing:
        raise AnnotationError(
            f"{path}: protocol {protocol.name!r} needs column {missing[0]!r}, and {len(missing)} are missing in all"
        )
    known = {*needed, *(f"visible{point}" for point in range(protocol.num_landmarks))}
    beyond = sorted(name for name in names if _POINT.fullmatch(name) and name not in known)
    if beyond:
        raise AnnotationError(
            f"{path}: protocol {protocol.name!r} has {protocol.num_landmarks} landmarks, so column {beyond[0]!r} is "
            f"too much; name the protocol that the table is of"
        )


def _face(row: Row, path: Path, number: int, protocol: LandmarkProtocol) -> ListedFace:
    where = f"{path}: row {number}"
    image, split = _word(row, "image", "", where), _word(row, "split", "train", where)
    if not image or split not in _SPLITS:
        raise AnnotationError(f"{where}: needs an image and a split of {_SPLITS}, got {image!r} and {split!r}")
    landmarks = np.array(
        [[_number(row, f"{axis}{point}", where) for axis in "xy"] for point in range(protocol.num_landmarks)]
    )
    subsets = _word(row, "subset", "", where).split(";")
    return ListedFace(
        ref=SampleRef(
            key=safe_key(path.stem, f"{number:08d}"),
            locator=f"{path.name}#{number}",
            split=split,
            subsets=tuple(name for name in subsets if name) if split == "test" else (),
            group=_word(row, "group", image, where),
        ),
        image=image_beside(path.parent, image),
        landmarks=landmarks,
        visible=_visible(row, where, protocol),
        box=box_of(landmarks, _box(row, where), where),
        attributes=dict(_attributes(row)),
    )


def _visible(row: Row, where: str, protocol: LandmarkProtocol) -> NDArray[np.bool_]:
    flags = [row.get(f"visible{point}", 1) for point in range(protocol.num_landmarks)]
    wrong = [point for point, flag in enumerate(flags) if flag not in (0, 1)]
    if wrong:
        raise AnnotationError(f"{where}: visible{wrong[0]} must be 0 or 1, got {flags[wrong[0]]!r}")
    return np.array(flags, dtype=np.bool_)


def _box(row: Row, where: str) -> tuple[float, float, float, float] | None:
    if not any(row.get(name) is not None for name in _BOX):
        return None
    x0, y0, x1, y1 = (_number(row, name, where) for name in _BOX)
    return x0, y0, x1 - x0, y1 - y0


def _number(row: Row, name: str, where: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AnnotationError(f"{where}: {name} must be a finite number, got {value!r}")
    return float(value)


def _word(row: Row, name: str, default: str, where: str) -> str:
    value = row.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, str | int):
        raise AnnotationError(f"{where}: {name} must be text, got {value!r}")
    return str(value)


def _attributes(row: Row) -> Iterator[tuple[str, str | float | bool]]:
    for name, value in row.items():
        ours = name in _WORDS or name in _BOX or _POINT.fullmatch(name)
        if not ours and isinstance(value, str | int | float | bool) and not _is_nan(value):
            yield name, value


def _is_nan(value: str | float | bool) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
