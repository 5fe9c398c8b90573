"""Which cells a matrix has, which of them are kept already, and which are left to run.

prepared = prepare([Given(label="new", name="models:/adodn-68@champion")], [Column(uri=uri)], Showing(), places)
outcome = run_matrix(prepared, places, start=lambda: cluster.connect(None), told=print)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adodn import publish
from adodn.data.manifest import Manifest
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import AdodnError, ConfigError, DataError
from adodn.evaluate import ALL, EvaluationReport
from adodn.evaluate.running import Showing
from adodn.matrix.cells import Cell, Column, Given, Loaded, cell_of, forget, kept
from adodn.matrix.table import Entry, Matrix
from adodn.model_files import file_contents
from adodn.settings import Settings

Told = Callable[[str, str, str], None]
"""Told of a model's label, a dataset's, and what is new of that cell."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """A matrix before it is run."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    models: Mapping[str, Loaded]
    """Label → those that could be loaded."""
    trained_on: Mapping[str, str]
    """Label of a model → digest of the dataset that it was trained on."""
    cells: tuple[Cell, ...]
    failed: Mapping[tuple[str, str], str]
    """Labels of the cells that cannot be → why."""


def prepare(models: Sequence[Given], columns: Sequence[Column], showing: Showing, places: Settings) -> Prepared:
    """Load all models, read all manifests, and plan the cells. What cannot be is noted cell by cell.

    Args:
        models: The rows.
        columns: The columns.
        showing: What is asked of every cell.
        places: Endpoints and credentials.

    Raises:
        ConfigError: If there are no rows or columns, or two rows have one label.
    """
    rows = [given.label for given in models]
    if not rows or not columns or len(set(rows)) < len(rows) or len(set(columns)) < len(columns):
        raise ConfigError(
            f"a matrix has models and datasets, each once, got {rows} and {[column.uri for column in columns]}; "
            "give a model that comes twice a name: --model NAME=MODEL"
        )
    loaded = {given.label: _attempt(lambda given=given: _load(given, places)) for given in models}  # type: ignore[misc]
    store = S3Store.from_settings(places)
    manifests = {
        column.uri: _attempt(lambda uri=column.uri: read_manifest(store, uri))  # type: ignore[misc]
        for column in columns
    }
    labels = _labels(columns, manifests)
    if len(set(labels.values())) < len(labels):
        raise ConfigError(f"a matrix has each dataset once, got {sorted(labels.values())}; leave out those given twice")
    cells, failed = _plan(loaded, manifests, labels, showing)
    there = {label: model for label, model in loaded.items() if isinstance(model, Loaded)}
    return Prepared(
        rows=tuple(rows),
        columns=tuple(labels.values()),
        models=there,
        trained_on={label: model.config.data.dataset for label, model in there.items()},
        cells=cells,
        failed=failed,
    )


def run_matrix(
    prepared: Prepared,
    places: Settings,
    *,
    start: Callable[[], None],
    told: Told,
    subset: str = ALL,
    cpus_per_cell: float = 1.0,
) -> Matrix:
    """Evaluate the cells that are not kept yet, on Ray, and read all of them back.

    Args:
        prepared: The matrix.
        places: Endpoints and credentials.
        start: Joins or starts a Ray cluster; called only if there is work for it.
        told: Told of each cell.
        subset: Of the faces, in the table; all are evaluated.
        cpus_per_cell: What each cell asks of the cluster.

    Raises:
        ConfigError: If the cluster cannot hold a cell.
        KeyboardInterrupt: At Ctrl-C; what is finished is kept, and the same call goes on.
    """
    failed = dict(prepared.failed)
    for labels, why in failed.items():
        told(*labels, f"failed: {why}")
    found = _kept_before(prepared.cells, places, told)
    before = set(found)
    left = {cell.key: cell for cell in prepared.cells if cell.key not in found}
    problems = _run(left, prepared, start, told, cpus_per_cell) if left else {}
    for cell in prepared.cells:
        if cell.key not in found:
            came = problems.get(cell.key) or _read_back(cell, places)
            if isinstance(came, str):
                failed[cell.model, cell.dataset] = came
            else:
                found[cell.key] = came
    entries = {
        (cell.model, cell.dataset): Entry.of(
            cell, found[cell.key], subset, prepared.trained_on[cell.model], cell.key in before, places
        )
        for cell in prepared.cells
        if cell.key in found
    }
    return Matrix.of(prepared.rows, prepared.columns, subset, entries, failed)


def _run(
    left: Mapping[str, Cell], prepared: Prepared, start: Callable[[], None], told: Told, cpus_per_cell: float
) -> dict[str, str]:
    """Key → what went wrong, of the cells that failed."""
    start()
    # Ray takes seconds to import, and a matrix that is kept needs none of it.
    from adodn.matrix.cluster import run_cells

    problems = {}

    def done(cell: Cell, problem: str) -> None:
        if problem:
            problems[cell.key] = problem
        for same in (other for other in prepared.cells if other.key == cell.key):
            told(same.model, same.dataset, f"failed: {problem}" if problem else "evaluated")

    contents = {model.digest: model.content for model in prepared.models.values()}
    run_cells(list(left.values()), contents, done=done, cpus_per_cell=cpus_per_cell)
    return problems


def _kept_before(cells: Sequence[Cell], places: Settings, told: Told) -> dict[str, EvaluationReport]:
    """Key → what is kept of it; cells that are damaged are removed."""
    found = {}
    for cell in cells:
        try:
            known = kept(cell, places)
        except DataError as error:
            told(cell.model, cell.dataset, f"damaged, evaluated again: {error}")
            forget(cell, places)
            continue
        if known is not None:
            found[cell.key] = known
            told(cell.model, cell.dataset, "kept from before")
    return found


def _read_back(cell: Cell, places: Settings) -> EvaluationReport | str:
    """What a task that ended well has kept, or why that cannot be read."""
    try:
        return kept(cell, places) or f"{cell.folder(places)}: is not there; did somebody remove it? Start again"
    except DataError as error:
        return f"{error}; start again"


def _load(given: Given, places: Settings) -> Loaded:
    network, config = publish.load(given.name, places)
    return Loaded(label=given.label, config=config, content=file_contents(network.state_dict(), config))


def _attempt(call: Callable[[], "Loaded | Manifest"]) -> "Loaded | Manifest | str":
    """What a call gives, or what went wrong."""
    try:
        return call()
    except AdodnError as error:
        return str(error)


def _labels(columns: Sequence[Column], manifests: Mapping[str, object]) -> dict[Column, str]:
    """What columns are called: their dataset's name, with its version where two have one name."""
    names = {}
    for column in columns:
        manifest = manifests[column.uri]
        name = manifest.dataset if isinstance(manifest, Manifest) else column.uri
        twins = {m.digest for m in manifests.values() if isinstance(m, Manifest) and m.dataset == name}
        if isinstance(manifest, Manifest) and len(twins) > 1:
            name = f"{name}/{manifest.version}"
        names[column] = name if column.mask_seed is None else f"{name} masked {column.mask_seed}"
    return names


def _plan(
    models: Mapping[str, object], manifests: Mapping[str, object], labels: Mapping[Column, str], showing: Showing
) -> tuple[tuple[Cell, ...], dict[tuple[str, str], str]]:
    cells, failed = [], {}
    for row, model in models.items():
        for column, label in labels.items():
            manifest = manifests[column.uri]
            if not isinstance(model, Loaded) or not isinstance(manifest, Manifest):
                failed[row, label] = str(manifest if isinstance(model, Loaded) else model)
                continue
            try:
                cells.append(cell_of(model, column, label, manifest, showing))
            except ConfigError as error:
                failed[row, label] = str(error)
    return tuple(cells), failed
