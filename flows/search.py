"""Flow `tune-adodn`: search hyperparameters on the Ray cluster, show what each trial came to. The search is `tune`'s.

prefect deployment run tune-adodn --param recipe=adodn_rendered --param trials=20 --watch

Not `flows/tune.py`: Prefect runs a file with its folder first on the path, and that would hide the package `tune`.
"""

import base64
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from adodn import settings
from adodn.data.store import S3Store
from adodn.settings import Settings
from flows.allowed import DatasetUri, allowed_dataset
from flows.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from flows.closing import begun_trainings, closing
from flows.jobs import run_job, stop_jobs
from flows.shard import RENDERED, DatasetName, shard_dataset
from flows.train import RecipeName, Workers, change_words, check_workers, experiment
from tune import report, storage
from tune.findings import BEST, Findings
from tune.space import SPACES

SpaceName = StrEnum("SpaceName", sorted((name, name) for name in SPACES))  # type: ignore[misc]
DEFAULT_RECIPE, PAPERS = RecipeName("adodn_smoke"), SpaceName("papers")
_TRIAL = re.compile(r"\btrial (\d+)/(\d+): ")


@flow(name="tune-adodn", on_cancellation=[stop_jobs], on_crashed=[stop_jobs], on_failure=[stop_jobs])
def tune_adodn(
    recipe: RecipeName = DEFAULT_RECIPE,
    dataset: DatasetName = RENDERED,
    root: Path | None = None,
    options: dict[str, int | str] | None = None,
    dataset_uri: DatasetUri | None = None,
    space: SpaceName = PAPERS,
    trials: Annotated[int, Field(ge=1, le=10_000)] = 6,
    concurrent: Annotated[int, Field(ge=1, le=1024)] | None = None,
    workers: Annotated[int, Field(ge=1, le=1024)] = 1,
    cpus_per_worker: Annotated[float, Field(ge=0.1, le=1024)] = 1.0,
    gpu: bool = False,
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None,
    changes: dict[str, bool | int | float | str] | None = None,
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,69}$")] | None = None,
    retrain_seeds: Annotated[int, Field(ge=0, le=100)] = 0,
) -> dict[str, Any]:
    """Shard a dataset and search a recipe's hyperparameters on it. Bare, it is a short search on rendered faces.

    Args:
        recipe: What trials vary; its own values are the first trial.
        dataset: Raw dataset to shard first; shards that are there are used as they are.
        root: The local folder that holds it; none for a rendered one.
        options: What the dataset takes, e.g. `{"num_train": 500}`.
        dataset_uri: A dataset that is sharded already, instead of the three above.
        space: What is searched.
        trials: In all, those before a resumption included.
        concurrent: Trials at once; by default as many as the cluster holds.
        workers: Processes that train a trial together.
        cpus_per_worker: Processors of each; with `gpu` as many threads prepare its batches.
        gpu: One GPU a worker.
        epochs: Instead of the recipe's.
        changes: Dotted fields of the recipe, e.g. `{"train.seed": 1}`.
        name: Resumes the search of that name; by default one of its own, which retries of this flow run resume.
        retrain_seeds: Trainings of the best config, and of the defaults, after the search; the best is registered.

    Returns:
        As `adodn search --json` prints it.
    """
    config = experiment(recipe, epochs, changes)
    crew = Workers(count=workers, gpu=gpu, micro_batch=None, cpus=cpus_per_worker)
    check_workers(config, crew)
    uri = allowed_dataset(dataset_uri) or shard_dataset(dataset, root, options)
    search = name or f"{recipe}-{str(flow_run.id)[:8]}"
    command = ["adodn", "search", "--name", search, "--recipe", recipe, "--dataset", uri, "--space", space]
    command += ["--trials", str(trials), "--resume", *crew.words()]
    command += ["--concurrent", str(concurrent)] if concurrent else []
    command += change_words(recipe, config)
    _run(command, search)
    places = settings.get()
    study = storage.load(search, places)
    found = report.answer(study, places)
    _show(found, places)
    folder = f"{places.searches_uri}/{search}"
    made = Findings.read(S3Store.from_settings(places), folder)
    _show_findings(made)
    if retrain_seeds and BEST in made.files:
        _retrain(f"{folder}/{BEST}", uri, retrain_seeds, crew)
    return found


def _retrain(best: str, uri: str, seeds: int, crew: Workers) -> None:
    """Train the best config and the defaults anew on the Ray cluster, and show what is left of the gain."""
    told: list[str] = []
    words = ["adodn", "winner", best, "--dataset", uri, "--seeds", str(seeds), *crew.words(), "--json"]
    with closing(lambda: [run for _, _, run in begun_trainings(told)[-1:]]):
        run_job("winner", words, told.extend)
    answer = json.loads(next(line for line in reversed(told) if line.startswith("{")))
    tested = ", ".join(f"{100 * nme:.2f} %" for nme in answer["test_nme"])
    standing = f"{answer['registered']['model_uri']}: {answer['registered']['reason']}"
    create_markdown_artifact(
        f"{answer['text']}\n\nOn test: {tested}.\n\n{standing}", key="winner", description="what survives of the gain"
    )


def _run(command: list[str], search: str) -> None:
    """Search on the Ray cluster, and show how far it is."""
    dashboard = settings.get().ray_dashboard_url
    create_link_artifact(link=dashboard, link_text="Ray dashboard", key="search-ray-dashboard")
    progress = create_progress_artifact(progress=0.0, key="search-progress", description=f"searching {search}")

    def on_lines(lines: list[str]) -> None:
        if over := [found for line in lines if (found := _TRIAL.search(line))]:
            update_progress_artifact(progress, progress=100 * int(over[-1][1]) / int(over[-1][2]))

    with closing(lambda: _left_running(search)):
        run_job("search", command, on_lines)
    update_progress_artifact(progress, progress=100.0)


def _left_running(search: str) -> Iterator[str]:
    """The search's own run on MLflow, and those of the trials that its study shows as running."""
    yield search
    yield from storage.left_running(storage.load(search, settings.get()))


def _show(found: dict[str, Any], places: Settings) -> None:
    """Publish the trials, the best of them, and where to look further."""
    rows = [
        {name: row[name] for name in ("number", "state", "epochs", "nme", "values", "error", "run_name")}
        | row["params"]
        for row in found["trials"]
    ]
    create_table_artifact(table=rows, key="trials", description=f"search {found['name']}")
    best = "\n".join(f"- trial {row['number']}: {row['values']}, {row['params']}" for row in found["best"])
    create_markdown_artifact(
        f"{best}\n\nMore pictures: `pip install optuna-dashboard`, then `optuna-dashboard {found['study']}`",
        key="best-trials",
        description=f"best of search {found['name']}",
    )
    create_link_artifact(link=places.mlflow_tracking_uri, link_text="MLflow", key="search-mlflow")


def _show_findings(found: Findings) -> None:
    """Publish the pictures and the best config, and say what was left out."""
    for name, content in found.files.items():
        if name != BEST:
            encoded = base64.b64encode(content).decode()
            create_image_artifact(image_url=f"data:image/png;base64,{encoded}", key=f"search-{Path(name).stem}")
    config = f"{BEST}:\n\n```json\n{found.files[BEST].decode()}```\n\n" if BEST in found.files else ""
    left_out = "\n".join(f"- left out {name}: {why}" for name, why in found.left_out.items())
    create_markdown_artifact(config + left_out, key="search-config", description="for `adodn winner`")
