"""Raw datasets by name.

    for sample in datasets.open("300w", Path("300w")): ...
    datasets.open("synthetic", None, seed=1, num_train=1000)
    datasets.open("coco", Path("own"), protocol="98")
    datasets.open("masked", Path("300w"), source="300w")    # the faces of another dataset, with masks on
    datasets.open("mapped", None, source="synthetic", protocol="29")    # or with the landmarks of another protocol

Sharded datasets are read by `adodn.data`, not here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from adodn import protocols
from adodn.datasets.aflw import AflwDataset
from adodn.datasets.coco import CocoDataset
from adodn.datasets.cofw import CofwDataset
from adodn.datasets.cofw68 import Cofw68Dataset
from adodn.datasets.mapped import MappedDataset
from adodn.datasets.masked import MaskedDataset
from adodn.datasets.mtfl import MTFLDataset
from adodn.datasets.pts_folder import PtsFolderDataset
from adodn.datasets.synthetic import SyntheticDataset
from adodn.datasets.table import TableDataset
from adodn.datasets.w300 import W300Dataset
from adodn.datasets.w300_private import W300PrivateDataset
from adodn.datasets.w300vw import W300VWDataset
from adodn.datasets.wflw import WFLWDataset
from adodn.errors import ConfigError, DataError
from adodn.protocols import LandmarkProtocol
from adodn.samples import Dataset

_Opener = Callable[[Path | None, dict[str, Any]], Dataset]


def open(name: str, root: Path | str | None = None, **options: Any) -> Dataset:
    """The raw dataset of that name.

    Args:
        name: One of `names()`.
        root: Folder that holds it; None for one that is rendered.
        **options: What the dataset's class takes besides, e.g. `num_train` for `synthetic`.

    Raises:
        ConfigError: If there is no such dataset, or it does not take these options.
        DataError: If there is no such folder, or it is not what the dataset needs.
    """
    if name not in _DATASETS:
        raise ConfigError(f"unknown dataset {name!r}; available: {', '.join(names())}")
    return _DATASETS[name](None if root is None else Path(root), options)


def names() -> tuple[str, ...]:
    """The datasets that can be opened, sorted."""
    return tuple(sorted(_DATASETS))


def _from_folder(name: str, kind: Callable[..., Dataset], *takes: str) -> _Opener:
    """How to open a dataset that is read from a folder; `takes` are the options it has."""

    def opened(root: Path | None, options: dict[str, Any]) -> Dataset:
        unknown = sorted(set(options) - set(takes))
        if unknown:
            raise ConfigError(f"dataset {name!r} takes {', '.join(takes) or 'no options'}, got {unknown}")
        if root is None:
            raise ConfigError(f"dataset {name!r} is read from a folder; give its root")
        return kind(root, **options)

    return opened


def _own(name: str, kind: Callable[[Path, LandmarkProtocol], Dataset]) -> _Opener:
    """How to open users' own faces, whose protocol they name."""

    def with_protocol(root: Path, protocol: str = "68") -> Dataset:
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise DataError(f"root {str(root)!r} of dataset {name!r} {what}; give the folder of your faces")
        return kind(root, protocols.get(protocol))

    return _from_folder(name, with_protocol, "protocol")


def _synthetic(root: Path | None, options: dict[str, Any]) -> Dataset:
    if root is not None:
        raise ConfigError(f"dataset 'synthetic' is rendered and takes no root, got {str(root)!r}")
    try:
        return SyntheticDataset(**options)
    except TypeError as error:
        raise ConfigError(f"dataset 'synthetic': {error}") from None


def _masked(root: Path | None, options: dict[str, Any]) -> Dataset:
    """Another dataset in masks: `source` names it, and takes all options but `mask_seed` and `mask_share`."""
    source = options.pop("source", "300w")
    masks = {name: options.pop(f"mask_{name}") for name in ("seed", "share") if f"mask_{name}" in options}
    if source == "masked":
        raise ConfigError("dataset 'masked': its source is another dataset, got 'masked'")
    return MaskedDataset(open(source, root, **options), **masks)


def _mapped(root: Path | None, options: dict[str, Any]) -> Dataset:
    """Another dataset in another protocol: `source` and `protocol` name them, the source takes all other options."""
    source, protocol = options.pop("source", "synthetic"), options.pop("protocol", None)
    if source == "mapped" or not isinstance(protocol, str):
        raise ConfigError(
            "dataset 'mapped' takes a source other than itself and the protocol to map to, "
            f"got source {source!r}, protocol {protocol!r}"
        )
    return MappedDataset(open(source, root, **options), protocol)


_PLAIN = (
    AflwDataset,
    Cofw68Dataset,
    CofwDataset,
    MTFLDataset,
    W300Dataset,
    W300PrivateDataset,
    WFLWDataset,
)
_OWN = (CocoDataset, PtsFolderDataset, TableDataset)
_DATASETS: dict[str, _Opener] = {
    **{kind.name: _from_folder(kind.name, kind) for kind in _PLAIN},
    **{kind.name: _own(kind.name, kind) for kind in _OWN},
    "mapped": _mapped,
    "masked": _masked,
    "300vw": _from_folder("300vw", W300VWDataset, "every_nth"),
    "synthetic": _synthetic,
}
