"""Raw datasets by name.

    for sample in datasets.open("300w", Path("300w")): ...
    datasets.open("synthetic", None, seed=1, num_train=1000)

Sharded datasets are read by `adodn.data`, not here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from adodn.datasets.synthetic import SyntheticDataset
from adodn.datasets.w300 import W300Dataset
from adodn.errors import ConfigError
from adodn.samples import Dataset


def open(name: str, root: Path | str | None = None, **options: Any) -> Dataset:
    """The raw dataset of that name.

    Args:
        name: One of `names()`.
        root: Folder that holds it; None for one that is rendered.
        **options: What the dataset's class takes besides, e.g. `num_train` for `synthetic`.

    Raises:
        ConfigError: If there is no such dataset, or it does not take these options.
        DataError: If the folder is not what the dataset needs.
    """
    if name not in _DATASETS:
        raise ConfigError(f"unknown dataset {name!r}; available: {', '.join(names())}")
    return _DATASETS[name](None if root is None else Path(root), options)


def names() -> tuple[str, ...]:
    """The datasets that can be opened, sorted."""
    return tuple(sorted(_DATASETS))


def _w300(root: Path | None, options: dict[str, Any]) -> Dataset:
    if options:
        raise ConfigError(f"dataset '300w' takes no options, got {sorted(options)}")
    if root is None:
        raise ConfigError("dataset '300w' is read from a folder; give its root")
    return W300Dataset(root)


def _synthetic(root: Path | None, options: dict[str, Any]) -> Dataset:
    if root is not None:
        raise ConfigError(f"dataset 'synthetic' is rendered and takes no root, got {str(root)!r}")
    try:
        return SyntheticDataset(**options)
    except TypeError as error:
        raise ConfigError(f"dataset 'synthetic': {error}") from None


_DATASETS: dict[str, Callable[[Path | None, dict[str, Any]], Dataset]] = {"300w": _w300, "synthetic": _synthetic}
