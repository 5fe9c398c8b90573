"""What a user points at: a file of predictions, a folder, a registered model, or a run. It asks no server.

begin(Path("predictions.json")).origin.model        # "models:/adodn-68/3"
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from adodn.config import ExperimentConfig
from adodn.datasets.files import read_file
from adodn.errors import AnnotationError, CheckpointError, ConfigError
from adodn.lineage.links import Link, broken, unverified, verified
from adodn.model_files import CONFIG, WEIGHTS, read_files, read_origin
from adodn.model_origin import ORIGIN, ModelOrigin
from adodn.predictions import Predictions

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MAX_BYTES = 64_000_000
"""Of a file of predictions: some 10,000 faces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """Where a chain begins, and what its first steps say."""

    links: tuple[Link, ...] = ()
    origin: ModelOrigin | None = None
    """Of the model, where a file says it."""
    model: str = ""
    """Name or address of a registered model."""
    run: str = ""
    """Id of an MLflow run, or a run's name."""
    config: ExperimentConfig | None = None
    """Of the model, where it was read already."""


def begin(what: str) -> Beginning:
    """Find out what somebody points at.

    Args:
        what: A file, a folder, `models:/NAME/VERSION`, `NAME@ALIAS`, an MLflow run's id, or a run's name.

    Raises:
        ConfigError: If it is none of them.
        DataError: If a file is not one of predictions.
    """
    path = Path(what)
    if what.startswith("models:/"):
        return Beginning(model=what)
    kind = _kind(path) if what else ""
    if kind == "folder":
        return _folder(path)
    if kind == "file":
        return _predictions(path)
    if "@" in what:
        return Beginning(model=f"models:/{what}")
    if not what or "/" in what or path.suffix == ".json":
        raise ConfigError(
            f"lineage begins at a file of `adodn predict --save`, a folder of `adodn export`, models:/NAME/VERSION, "
            f"NAME@ALIAS, or a run's id or name; {what!r} is none that is here"
        )
    return Beginning(run=what)


def _kind(path: Path) -> str:
    """`folder`, `file`, or nothing that is here; what cannot be a path is none."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else ""
    except (OSError, ValueError):
        return ""


def is_run_id(run: str) -> bool:
    """Whether it has the form of an MLflow run's id."""
    return _RUN_ID.fullmatch(run) is not None


def _predictions(path: Path) -> Beginning:
    try:
        said = Predictions.from_json(read_file(path, _MAX_BYTES), str(path))
    except AnnotationError as error:
        raise ConfigError(str(error)) from None
    count = f"{len(said.faces)} {'face' if len(said.faces) == 1 else 'faces'}"
    subject = f"{path.name}: {count} in {said.image.name}, by adodn {said.code.adodn}"
    facts = {"image": said.image.name, "image_sha256": said.image.sha256, "predicted_by": said.code.commit}
    photo = path.parent / Path(said.image.name).name
    wanted = f"{said.image.name} with sha256 {said.image.sha256}"
    try:
        with photo.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        link = unverified("prediction", subject, f"the photo {wanted} does not lie beside it", facts)
    else:
        why = f"{wanted} lies beside it; the landmarks are not computed anew"
        link = verified("prediction", subject, why, facts)
        if actual != said.image.sha256:
            link = broken("prediction", subject, f"it is of {wanted}, but beside it lies one with {actual}", facts)
    return Beginning(links=(link,), origin=said.model)


def _folder(folder: Path) -> Beginning:
    try:
        files = read_files(folder)
    except CheckpointError as error:
        try:
            origin = read_origin(folder, str(folder))
        except CheckpointError:
            origin = None
        return Beginning(links=(broken("folder", str(folder), str(error)),), origin=origin)
    subject = f"{folder}: {WEIGHTS}, {CONFIG}"
    if files.origin is None:
        why = f"it has no {ORIGIN}, which `adodn export` writes: where the model came from is not known"
        own = ModelOrigin(source="folder", fingerprint=files.config.fingerprint(), sha256=files.sha256)
        link = unverified("folder", subject, why, {"sha256": files.sha256})
        return Beginning(links=(link,), origin=own, config=files.config)
    link = verified("folder", subject, f"both have the sha256 that {ORIGIN} names", {"sha256": files.sha256})
    return Beginning(links=(link,), origin=files.origin, config=files.config)
