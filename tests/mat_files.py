"""Writes MATLAB 7.3 files the way MATLAB does: a 512-byte header, reversed dimensions, cells behind references."""

from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

Value: TypeAlias = np.ndarray[Any, Any] | str

_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Tue Nov 12 10:00:00 2013 HDF5 schema 1.00 ."
_CLASSES = {"float64": "double", "float32": "single", "bool": "logical"}


def write_hdf5(path: Path, variables: dict[str, Value | list[Value]]) -> None:
    """Write variables as MATLAB shows them; a list becomes a cell array of one column."""
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        for name, value in variables.items():
            if isinstance(value, list):
                _write_cells(file, refs, name, value)
            else:
                _write_array(file, name, value)
    with path.open("r+b") as file:
        file.write(_HEADER.ljust(124) + b"\x00\x02IM")


def _write_cells(file: h5py.File, refs: h5py.Group, name: str, cells: list[Value]) -> None:
    written = [_write_array(refs, f"{name}{i}", cell) for i, cell in enumerate(cells)]
    dataset = file.create_dataset(name, (1, len(cells)), dtype=h5py.ref_dtype)
    dataset.attrs["MATLAB_class"] = np.bytes_("cell")
    for i, cell in enumerate(written):
        dataset[0, i] = cell.ref


def _write_array(group: h5py.Group, name: str, value: Value) -> h5py.Dataset:
    if isinstance(value, str):
        dataset = group.create_dataset(name, data=np.frombuffer(value.encode("utf-16-le"), "<u2").reshape(-1, 1))
        dataset.attrs["MATLAB_class"] = np.bytes_("char")
        return dataset
    dataset = group.create_dataset(name, data=value.T, compression="gzip" if value.size > 64 else None)
    dataset.attrs["MATLAB_class"] = np.bytes_(_CLASSES.get(str(value.dtype), str(value.dtype)))
    return dataset
