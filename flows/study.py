"""Flow `study-adodn`: a study of the ADODN paper on the Ray cluster; its table beside the paper's figures, a picture.

prefect deployment run study-adodn --param study=reduction --param recipe=adodn_rendered --param seeds=3 --watch

The trainings are those of `adodn study`: one that is done already is only looked up.
"""

import base64
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from adodn import publish, settings
from adodn.config import ExperimentConfig
from adodn.evaluate import ALL
from flows.allowed import DatasetUri, Subset, allowed_dataset
from flows.artifacts import (
    create_image_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from flows.closing import begun_trainings, closing
from flows.jobs import run_job, stop_jobs
from flows.shard import RENDERED, DatasetName, shard_dataset
from flows.train import RecipeName, Workers, change_words, check_workers, experiment, on_dataset
from tune import studies
from tune.runs import evaluated_once
from tune.studies import Study, StudyTable
from tune.study_pictures import study_figure

StudyName = StrEnum("StudyName", [(name, name) for name in studies.STUDIES])  # type: ignore[misc]
DEFAULT_RECIPE, ABLATION = RecipeName("adodn_smoke"), StudyName("ablation")


@flow(name="study-adodn", on_cancellation=[stop_jobs], on_crashed=[stop_jobs], on_failure=[stop_jobs])
def study_adodn(
    study: StudyName = ABLATION,
    recipe: RecipeName = DEFAULT_RECIPE,
    dataset: DatasetName = RENDERED,
    root: Path | None = None,
    options: dict[str, int | str] | None = None,
    dataset_uri: DatasetUri | None = None,
    seeds: Annotated[int, Field(ge=1, le=100)] = 2,
    subset: Subset = ALL,
    workers: Annotated[int, Field(ge=1, le=1024)] = 2,
    cpus_per_worker: Annotated[float, Field(ge=0.1, le=1024)] = 1.0,
    gpu: bool = False,
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None,
    changes: dict[str, bool | int | float | str] | None = None,
) -> dict[str, Any]:
    """Train and test each variant of a study with several seeds. Bare, a short ablation on rendered faces.

    Args:
        study: What varies.
        recipe: What is varied; it has all of ADODN's modules.
        dataset: Raw dataset to shard first; shards that are there are used as they are.
        root: The local folder that holds it; none for a rendered one.
        options: What the dataset takes, e.g. `{"num_train": 500}`.
        dataset_uri: A dataset that is sharded already, instead of the three above.
        seeds: Trainings of each variant.
        subset: Whose test faces count, e.g. `challenging`.
        workers: Processes that train together; they never change the result.
        cpus_per_worker: Processors of each; with `gpu` as many threads prepare its batches.
        gpu: One GPU a worker.
        epochs: Instead of the recipe's.
        changes: Dotted fields of the recipe, e.g. `{"train.learning_rate": 0.001}`.

    Returns:
        The table, as `adodn study --json` prints it.
    """
    config = experiment(recipe, epochs, changes)
    crew = Workers(count=workers, gpu=gpu, micro_batch=None, cpus=cpus_per_worker)
    check_workers(config, crew)
    uri = allowed_dataset(dataset_uri) or shard_dataset(dataset, root, options)
    words = ["adodn", "study", study, "--dataset", uri, "--recipe", recipe, "--seeds", str(seeds), "--subset", subset]
    _run(words + change_words(recipe, config) + crew.words(), study)
    found = _table(studies.get(study), on_dataset(config, uri), uri, seeds, subset)
    _show(found)
    return found.to_json()


def _run(words: list[str], study: str) -> None:
    """Train and test on the Ray cluster, and show how far it is."""
    progress = create_progress_artifact(progress=0.0, key="study-progress", description=f"study {study}")

    begun: list[str] = []

    def on_lines(lines: list[str]) -> None:
        if found := begun_trainings(lines):
            number, total, run = found[-1]
            begun.append(run)
            update_progress_artifact(progress, progress=100 * (number - 1) / total)

    with closing(lambda: begun[-1:]):
        run_job("study", words, on_lines)
    update_progress_artifact(progress, progress=100.0)


def _table(study: Study, base: ExperimentConfig, uri: str, seeds: int, subset: str) -> StudyTable:
    """What the job measured, looked up again."""
    places = settings.get()
    evaluations = {
        key: evaluated_once(publish.read_outcome(training.run_name, places), uri, places)
        for key, training in study.trainings(base, range(seeds)).items()
    }
    return studies.table(study, evaluations, subset=subset)


def _show(found: StudyTable) -> None:
    rows = [dict(zip(studies.HEADS, cells, strict=True)) for cells in found.cells()]
    about = f"study {found.study}, {found.faces} faces of subset {found.subset}; differences to {found.reference}"
    create_table_artifact(table=rows, key="study", description=f"{about}. The paper: {found.about}")
    encoded = base64.b64encode(study_figure(found)).decode()
    create_image_artifact(image_url=f"data:image/png;base64,{encoded}", key="study-picture")
