"""Flow `train-adodn`: raw dataset to registered model. It holds no algorithm: it orders work and shows what came of it.

prefect deployment run train-adodn --param recipe=adodn_rendered --watch
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from adodn import publish, recipes, settings
from adodn.config import ExperimentConfig, check_micro_batch, worker_counts
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.evaluate import ERRORS, read_report
from adodn.report import summary_markdown
from adodn.train.progress import finished_share
from flows.allowed import DatasetUri, ModelName, allowed_dataset
from flows.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from flows.closing import closing
from flows.jobs import run_job, stop_jobs
from flows.shard import RENDERED, DatasetName, shard_dataset

RecipeName = StrEnum("RecipeName", sorted((name, name) for name in recipes.RECIPES))  # type: ignore[misc]
DEFAULT_RECIPE = RecipeName("adodn_rendered")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """Who trains; they never change the result."""

    count: int
    gpu: bool
    """One GPU a worker."""
    micro_batch: int | None
    """Faces at a time in a worker; None: its whole share of the batch."""
    fewest: int | None = None
    """With which to train while the cluster has no room for all; None: with all or not at all."""
    cpus: float = 1.0
    """Of each."""

    def words(self) -> list[str]:
        """As each command that trains takes them."""
        words = ["--workers", str(self.count), "--cpus-per-worker", f"{self.cpus:g}"]
        return words + (["--gpu"] if self.gpu else [])


@dataclass(frozen=True, kw_only=True, slots=True)
class Precautions:
    """Against clusters that are too small and workers that are lost; they never change the result."""

    checkpoint_steps: int | None = None
    """Steps between checkpoints within an epoch; None: at its end only."""
    wait_minutes: float
    """For a cluster that is too small."""
    hang_timeout: float
    """Seconds for which a worker may not answer."""

    def words(self) -> list[str]:
        """As `adodn train` takes them."""
        words = ["--wait-minutes", str(self.wait_minutes), "--hang-timeout", str(self.hang_timeout)]
        return words + (["--checkpoint-steps", str(self.checkpoint_steps)] if self.checkpoint_steps else [])


@flow(name="train-adodn", on_cancellation=[stop_jobs], on_crashed=[stop_jobs], on_failure=[stop_jobs])
def train_adodn(
    recipe: RecipeName = DEFAULT_RECIPE,
    dataset: DatasetName = RENDERED,
    root: Path | None = None,
    options: dict[str, int | str] | None = None,
    dataset_uri: DatasetUri | None = None,
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None,
    workers: Annotated[int, Field(ge=1, le=1024)] = 2,
    min_workers: Annotated[int, Field(ge=1, le=1024)] | None = None,
    cpus_per_worker: Annotated[float, Field(ge=0.1, le=1024)] = 1.0,
    gpu: bool = False,
    micro_batch: Annotated[int, Field(ge=1)] | None = None,
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None,
    wait_minutes: Annotated[float, Field(ge=0, le=10_080)] = 5.0,
    hang_timeout: Annotated[float, Field(ge=1, le=86_400)] = 600.0,
    changes: dict[str, bool | int | float | str] | None = None,
    from_model: ModelName | None = None,
    run_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")] | None = None,
) -> dict[str, Any]:
    """Shard a dataset, train a recipe on it, evaluate, register, and promote the model if it is the better one.

    Args:
        recipe: Which experiment.
        dataset: Raw dataset to shard first; shards that are there are used as they are.
        root: The local folder that holds it; none for a rendered one.
        options: What the dataset takes, e.g. `{"num_train": 500}`.
        dataset_uri: A dataset that is sharded already, instead of the three above.
        epochs: Instead of the recipe's.
        workers: Processes that train together; they never change the result.
        min_workers: With as few while the cluster has no room for all; by default with all or not at all.
        cpus_per_worker: Processors of each; with `gpu` as many threads prepare its batches.
        gpu: One GPU a worker.
        micro_batch: Faces at a time in a worker, for less memory; never changes the result.
        checkpoint_steps: Checkpoint so often within epochs, too; by default at the end of each only.
        wait_minutes: How long to wait for a cluster that is too small, or still grows.
        hang_timeout: Seconds after which a worker that does not answer is started anew.
        changes: Dotted fields of the recipe, e.g. `{"train.seed": 1}`.
        from_model: Model to fine-tune: models:/NAME@ALIAS, or a finished run's name.
        run_name: Resumes the run of that name; by default a run of its own, which retries of this flow run resume.

    Returns:
        The evaluation: figures, the registered model, and whether it is champion now.
    """
    config = experiment(recipe, epochs, changes)
    crew = Workers(count=workers, gpu=gpu, micro_batch=micro_batch, fewest=min_workers, cpus=cpus_per_worker)
    care = Precautions(checkpoint_steps=checkpoint_steps, wait_minutes=wait_minutes, hang_timeout=hang_timeout)
    check_workers(config, crew)
    uri = allowed_dataset(dataset_uri) or shard_dataset(dataset, root, options)
    run = run_name or f"{on_dataset(config, uri).run_name}-{str(flow_run.id)[:8]}"
    train(run, command(run, recipe, config, [uri], crew, care=care, from_model=from_model))
    answer = evaluate(run, uri)
    show(answer, run)
    return answer


def experiment(recipe: str, epochs: int | None, changes: dict[str, Any] | None) -> ExperimentConfig:
    """The config of a recipe with its changes, checked before any work is done.

    Raises:
        ConfigError: If a field is unknown or out of range.
    """
    return recipes.get(recipe).with_fields((changes or {}) | ({"train.epochs": epochs} if epochs else {}))


def check_workers(config: ExperimentConfig, workers: Workers) -> None:
    """Refuse workers that would change the result.

    Raises:
        ConfigError: If they cannot share the batch, or take it in parts that are too small.
    """
    worker_counts(config, fewest=workers.fewest or workers.count, most=workers.count)
    check_micro_batch(config, workers.micro_batch)


def on_dataset(config: ExperimentConfig, uri: str) -> ExperimentConfig:
    """The experiment on a sharded dataset."""
    manifest = read_manifest(S3Store.from_settings(settings.get()), uri)
    return config.on_dataset(manifest.digest, manifest.landmark_protocol)


def command(
    run: str,
    recipe: str,
    config: ExperimentConfig,
    uris: Sequence[str],
    workers: Workers,
    *,
    care: Precautions | None = None,
    from_model: str | None = None,
) -> list[str]:
    """What trains a recipe, as changed in the config, on sharded datasets; from a model, if one is named."""
    words = ["adodn", "train", "--recipe", recipe, "--run-name", run, *workers.words()]
    words += [word for uri in uris for word in ("--dataset", uri)]
    words += ["--from-model", from_model] if from_model else []
    words += ["--min-workers", str(workers.fewest)] if workers.fewest else []
    words += ["--micro-batch", str(workers.micro_batch)] if workers.micro_batch else []
    words += care.words() if care else []
    return words + change_words(recipe, config)


def train(run: str, words: Sequence[str], *, step: str = "train") -> None:
    """Run a command that trains on the Ray cluster, and show how far it is; `step` is unique in the flow."""
    dashboard = settings.get().ray_dashboard_url
    create_link_artifact(link=dashboard, link_text="Ray dashboard", key="ray-dashboard")
    progress = create_progress_artifact(progress=0.0, key=f"{step}-progress", description=f"training {run}")

    def on_lines(lines: list[str]) -> None:
        if shares := [share for line in lines if (share := finished_share(line)) is not None]:
            update_progress_artifact(progress, progress=100 * shares[-1])

    with closing(lambda: [run]):
        run_job(step, words, on_lines)
    update_progress_artifact(progress, progress=100.0)


def change_words(recipe: str, config: ExperimentConfig) -> list[str]:
    """What is changed of a recipe, as each command that trains takes it."""
    changed = recipes.get(recipe).differences(config)
    return [word for field, value in changed.items() for word in ("--set", f"{field}={json.dumps(value)}")]


def evaluate(run: str, uri: str, *, step: str = "evaluate") -> dict[str, Any]:
    """Evaluate on the test split and register, on the Ray cluster."""
    run_job(step, ["adodn", "evaluate", run, "--dataset", uri, "--register"])
    places = settings.get()
    answer: dict[str, Any] = json.loads(
        S3Store.from_settings(places).get(publish.evaluation_uri(run, publish.REPORT, places))
    )
    return answer


def show(answer: dict[str, Any], run: str) -> None:
    """Publish figures, a summary in words, links and the CED plot."""
    places = settings.get()
    store = S3Store.from_settings(places)
    where = publish.evaluation_uri(run, ERRORS, places)
    summary = summary_markdown(
        read_report(store.get(where), where), model=answer["model_uri"], decision=answer["reason"]
    )
    create_markdown_artifact(markdown=summary, key="summary", description=f"evaluation of {run}")
    create_table_artifact(
        table=answer["results"], key="results", description=f"{answer['model_uri']}: {answer['reason']}"
    )
    create_link_artifact(link=answer["run_url"], link_text="MLflow run", key="mlflow-run")
    for name, kind in publish.PICTURES.items():
        encoded = base64.b64encode(store.get(publish.evaluation_uri(run, name, places))).decode()
        create_image_artifact(image_url=f"data:image/{kind};base64,{encoded}", key=name.replace(".", "-"))
