"""One cell of a matrix, a model on a dataset: what it is known by, how it is evaluated, and where it is kept.

    cell = cell_of(model, column, manifest, showing)
    kept(cell, places) or evaluate_cell(cell, model.content, places)

A cell lies at `evaluations/MODEL/DATASET/ASKED/`, three sha256. The errors come first, under their own sha256, and
`figures.json` last and only if absent, so that a cell that is there is whole, and whoever is first has made it.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from adodn.config import ExperimentConfig
from adodn.data.manifest import Manifest
from adodn.data.store import S3Store
from adodn.errors import DataError
from adodn.evaluate import ERRORS, FIGURES, EvaluationReport, Jittered, read_report
from adodn.evaluate.running import Showing, check_single, evaluate_network, meeting_of
from adodn.model_files import build_network, read_model
from adodn.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A model as a user names it."""

    label: str
    """Of its row."""
    name: str
    """A run's, `models:/…`, or a folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A dataset as a user names it, and how its faces are shown."""

    uri: str
    mask_seed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Loaded:
    """A model that is at hand."""

    label: str
    config: ExperimentConfig
    content: Mapping[str, bytes]
    """File name → content, as `model_files.file_contents` gives it."""

    @property
    def digest(self) -> str:
        """sha256 over its files: the same from a run, a folder or the registry."""
        parts = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in sorted(self.content.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A model on a dataset."""

    model: str
    """Label of the row."""
    dataset: str
    """Label of the column."""
    model_digest: str
    dataset_digest: str
    dataset_uri: str
    showing: Showing
    asked_digest: str
    """`Showing.digest`."""

    @property
    def key(self) -> str:
        """What it is known by: cells of one key are the same evaluation."""
        return f"{self.model_digest}/{self.dataset_digest}/{self.asked_digest}"

    def folder(self, places: Settings) -> str:
        """Where it is kept."""
        return f"{places.evaluations_uri}/{self.key}"


def cell_of(model: Loaded, column: Column, label: str, manifest: Manifest, showing: Showing) -> Cell:
    """The cell of a model and a dataset.

    Args:
        model: The row.
        column: The column.
        label: What the column is called.
        manifest: Of its dataset.
        showing: What is asked of every cell.

    Raises:
        ConfigError: If model and dataset do not meet.
    """
    check_single(model.config)
    asked = replace(showing, mask_seed=column.mask_seed)
    return Cell(
        model=model.label,
        dataset=label,
        model_digest=model.digest,
        dataset_digest=manifest.digest,
        dataset_uri=column.uri,
        showing=asked,
        asked_digest=asked.digest(meeting_of(model.config, manifest, asked)),
    )


def evaluate_cell(cell: Cell, content: Mapping[str, bytes], places: Settings) -> None:
    """Measure a model on a dataset and keep what came of it, unless somebody else was first.

    Args:
        cell: Which.
        content: The model's files.
        places: Where the store and the cache are.

    Raises:
        AdodnError: As `running.evaluate_network`; also if the dataset is no longer the one that was planned.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, data in content.items():
            (Path(folder) / name).write_bytes(data)
        state, config = read_model(Path(folder), where=cell.model)
    network = build_network(config, state)
    evaluation, _ = evaluate_network(network, config, cell.dataset_uri, places, cell.showing)
    if evaluation.dataset_digest != cell.dataset_digest:
        raise DataError(
            f"{cell.dataset_uri}: digest must be {cell.dataset_digest}, as it was planned, got "
            f"{evaluation.dataset_digest}; let nobody overwrite a published dataset, and start the matrix again"
        )
    keep(cell, evaluation, places)


def keep(cell: Cell, evaluation: EvaluationReport, places: Settings) -> None:
    """Put a cell where it is kept; one that is there stays as it is."""
    store, folder, files = S3Store.from_settings(places), cell.folder(places), evaluation.files()
    # Whatever is there has these bytes, or is damaged.
    store.put(_errors_uri(folder, hashlib.sha256(files[ERRORS]).hexdigest()), files[ERRORS])
    store.put(f"{folder}/{FIGURES}", files[FIGURES], if_absent=True)


def kept(cell: Cell, places: Settings) -> EvaluationReport | None:
    """The evaluation of a cell, if it was made before.

    Raises:
        DataError: If what is kept is damaged, or of something else.
        StorageError: If the store does not answer.
    """
    store, folder = S3Store.from_settings(places), cell.folder(places)
    where = f"{folder}/{FIGURES}"
    if not store.exists(where):
        return None
    try:
        figures = json.loads(store.get(where))
        sha256, jitter = str(figures["files"][ERRORS]), tuple(Jittered(**row) for row in figures["box_jitter"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{where}: not the figures of an evaluation: {error!r}") from error
    address = _errors_uri(folder, sha256)
    if not store.exists(address):
        raise DataError(f"{address}: is not there, though {where} names it")
    found = replace(read_report(store.get(address), address, sha256=sha256), box_jitter=jitter)
    if found.dataset_digest != cell.dataset_digest or (len(jitter) > 0) != cell.showing.box_jitter:
        raise DataError(f"{where}: is the evaluation of something else")
    return found


def forget(cell: Cell, places: Settings) -> None:
    """Remove a cell that is damaged, so that it can be made again."""
    S3Store.from_settings(places).delete(f"{cell.folder(places)}/{FIGURES}")


def _errors_uri(folder: str, sha256: str) -> str:
    return f"{folder}/errors-{sha256}.npz"
