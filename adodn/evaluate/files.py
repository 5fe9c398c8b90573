"""The errors of each face as files: CSV for people, npz for programs, of plain arrays and never a pickle.

data = pack(Kept(dataset="300w", dataset_digest=manifest.digest, thresholds=(0.08, 0.10), errors=errors))
unpack(data, "run/errors.npz").errors

The npz holds what was found and what was annotated, so every figure, by every normaliser, follows from it again. Equal
errors give equal bytes.
"""

import csv
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adodn.errors import ConfigError, DataError
from adodn.evaluate.conditions import Conditions
from adodn.evaluate.faces import FaceErrors, figure_names
from adodn.protocols import protocol_from_json, protocol_to_json

_FORMAT, _WITHOUT_CONDITIONS = 2, 1
"""Files from before conditions were kept are read as well."""
_ARRAYS = {"predicted": "f8", "target": "f8", "visible": "b1", "boxes": "f8", "keys": "U", "subsets": "U", "meta": "U"}
_TOLD = "predicted_visible"
_META = ("format", "dataset", "dataset_digest", "protocol", "normaliser", "thresholds")
_CONDITIONS = "conditions"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Kept:
    """What an `errors.npz` holds."""

    dataset: str
    dataset_digest: str
    thresholds: tuple[float, ...]
    errors: FaceErrors
    conditions: Conditions | None = None


def to_csv(errors: FaceErrors) -> str:
    """One line a face: key, subsets joined by `|`, then every figure as a fraction that reads back to the same bits.

    A field is empty where the face does not have the figure.
    """
    names = figure_names(errors.protocol)
    columns = [_column(errors, figure) for figure in names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "subset", *(f"{figure}@{errors.normaliser}" for figure in names)))
    rows = zip(errors.keys, errors.subsets, *columns, strict=True)
    writer.writerows((key, "|".join(subsets), *values) for key, subsets, *values in rows)
    return text.getvalue()


def _column(errors: FaceErrors, figure: str) -> list[str]:
    column = [""] * len(errors)
    for value, face in zip(*(values.tolist() for values in errors.per_face(figure)), strict=True):
        column[face] = repr(value)
    return column


def pack(kept: Kept) -> bytes:
    """The content of an `errors.npz`.

    Raises:
        ConfigError: If a name in the protocol is one that a file cannot hold.
    """
    errors = kept.errors
    meta = {
        "format": _WITHOUT_CONDITIONS if kept.conditions is None else _FORMAT,
        "dataset": kept.dataset,
        "dataset_digest": kept.dataset_digest,
        "protocol": protocol_to_json(errors.protocol),
        "normaliser": errors.normaliser,
        "thresholds": list(kept.thresholds),
    } | ({} if kept.conditions is None else {_CONDITIONS: kept.conditions.to_plain()})
    arrays: dict[str, NDArray[Any]] = {name: getattr(errors, name) for name in ("predicted", "target", "boxes")}
    arrays |= {"visible": errors.visible, "keys": np.array(errors.keys), "meta": np.array(json.dumps(meta))}
    arrays["subsets"] = np.array([json.dumps(subsets) for subsets in errors.subsets])
    if errors.predicted_visible is not None:
        arrays[_TOLD] = errors.predicted_visible
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:  # a fixed date, for equal bytes
                content = np.asarray(array, order="C")
                np.lib.format.write_array(member, content, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def unpack(content: bytes, where: str, *, sha256: str | None = None) -> Kept:
    """What `pack` put into it.

    Args:
        content: Of the file.
        where: Its address, for messages.
        sha256: The digest that it must have.

    Raises:
        DataError: If it is another file, or was changed.
    """
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256:
        raise DataError(f"{where}: sha256 must be {sha256}, got {actual}; the file was changed or cut: evaluate again")
    try:
        arrays = _arrays(content)
        meta = _meta(str(arrays.pop("meta")))
        conditions = Conditions.from_plain(meta[_CONDITIONS]) if _CONDITIONS in meta else None
        errors = FaceErrors(
            protocol=protocol_from_json(meta["protocol"], where=where),
            normaliser=meta["normaliser"],
            keys=tuple(arrays.pop("keys").tolist()),
            subsets=tuple(tuple(json.loads(names)) for names in arrays.pop("subsets").tolist()),
            **arrays,
        )
    except (zipfile.BadZipFile, ValueError, TypeError, EOFError, ConfigError, DataError) as cause:
        raise DataError(f"{where}: not the errors of an evaluation: {cause}; evaluate again") from cause
    return Kept(
        dataset=meta["dataset"],
        dataset_digest=meta["dataset_digest"],
        thresholds=tuple(meta["thresholds"]),
        errors=errors,
        conditions=conditions,
    )


def _meta(text: str) -> dict[str, Any]:
    meta = json.loads(text)
    names = {_WITHOUT_CONDITIONS: _META, _FORMAT: (*_META, _CONDITIONS)}
    if not isinstance(meta, dict) or meta.get("format") not in names or sorted(meta) != sorted(names[meta["format"]]):
        raise ValueError(f"its description must be of format {_FORMAT} with {', '.join(names[_FORMAT])}")
    words = (meta[name] for name in ("dataset", "dataset_digest", "protocol", "normaliser"))
    if not all(isinstance(word, str) for word in words) or not isinstance(meta["thresholds"], list):
        raise ValueError("its description must hold words and a list of thresholds")
    return meta


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Every array by name. Nothing is larger than the file: members are stored, and sizes in headers are checked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if set(members) - {_TOLD} != set(_ARRAYS) or len(members) != len(archive.infolist()):
            raise ValueError(f"it must hold {', '.join(_ARRAYS)}, got {', '.join(archive.namelist())}")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in members.values()):
            raise ValueError("its arrays must be stored and not compressed")
        return {name: _array(archive.read(entry), name) for name, entry in members.items()}


def _array(data: bytes, name: str) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"array {name!r} must be of npy version 1.0, got {version}")
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(stream)
    expected = _ARRAYS.get(name, "b1")
    if by_columns or (kind.kind if expected == "U" else kind.str[1:]) != expected:
        raise ValueError(f"array {name!r} must be {expected} in C order, got {kind}")
    return np.frombuffer(data, dtype=kind, offset=stream.tell()).reshape(shape).copy()  # bytes are not writable
