"""What a flow's parameters may point at. Whoever may start a flow names places here, and a worker goes there.

def flow(dataset_uri: DatasetUri | None = None, from_model: ModelName | None = None): …
    uri = allowed_dataset(dataset_uri)      # first of all: it knows the bucket, which a pattern cannot

The patterns stand in the deployments' schemas: Prefect's server refuses a run that breaks them before it is made.
"""

import re
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from adodn import settings
from adodn.errors import ConfigError

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.=-]*"
_IN_BUCKET = rf"^s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9](/{_NAME})+/?$"
_MODEL = rf"^(models:/{_NAME}(@|/){_NAME}|{_NAME})$"

DatasetUri: TypeAlias = Annotated[str, Field(pattern=_IN_BUCKET, max_length=1000)]
"""`s3://BUCKET/…`, in plain letters; no segment begins with a dot."""
ModelName: TypeAlias = Annotated[str, Field(pattern=_MODEL, max_length=200)]
"""`models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a run's name: no path and no address of the worker's machine."""
Subset: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")]


def allowed_dataset(uri: str | None) -> str | None:
    """The sharded dataset, if it may be read.

    Raises:
        ConfigError: If it lies outside the bucket of the settings.
    """
    return None if uri is None else _inside(uri, f"s3://{settings.get().bucket}", "dataset_uri")


def allowed_destination(destination: str | None) -> str:
    """The folder of datasets, if it may be written.

    Raises:
        ConfigError: If it lies outside the folder of datasets.
    """
    datasets = settings.get().datasets_uri
    return datasets if destination in (None, datasets) else _inside(str(destination), datasets, "destination")


def allowed_root(root: Path | None) -> Path | None:
    """The root, if it may be read.

    Raises:
        ConfigError: If it is not a folder of this machine.
    """
    if root is not None and not root.is_dir():
        raise ConfigError(f"root must be a folder on the machine that runs the flow, got {str(root)!r}")
    return root


def _inside(uri: str, folder: str, name: str) -> str:
    if not re.fullmatch(_IN_BUCKET, uri) or not uri.startswith(f"{folder}/"):
        raise ConfigError(f"{name} must lie in {folder}/, without segments that begin with a dot, got {uri!r}")
    return uri
