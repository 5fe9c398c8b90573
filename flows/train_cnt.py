"""Flow `train-cnt`: cross-protocol training in its two stages, from raw datasets to a registered model of each.

prefect deployment run train-cnt --param recipe=cnt_smoke --watch

It orders work as `train-adodn` does, and by the same steps; the method is in `adodn`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from adodn import recipes, settings
from adodn.config import ExperimentConfig
from adodn.data.manifest import Manifest
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import ConfigError
from adodn.train.loaders import on_data
from flows.allowed import DatasetUri, allowed_dataset
from flows.jobs import stop_jobs
from flows.shard import RENDERED, DatasetName, shard_dataset
from flows.train import Workers, check_workers, command, evaluate, experiment, show, train

_STAGE_1 = "_stage1"
RecipeName = StrEnum(  # type: ignore[misc]
    "RecipeName", sorted((name, name) for name in recipes.RECIPES if name + _STAGE_1 in recipes.RECIPES)
)
DEFAULT_RECIPE = RecipeName("cnt_smoke")
_MAPPED = DatasetName("mapped")


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """A raw dataset to shard first, as `shard-dataset` takes it."""

    dataset: DatasetName
    root: Path | None = None
    options: dict[str, int | str] = field(default_factory=dict)


RENDERED_TWICE = (
    RawDataset(dataset=RENDERED),
    RawDataset(dataset=_MAPPED, options={"source": "synthetic", "protocol": "29", "seed": 1}),
)
"""Rendered faces of 68 landmarks, and others of 29: no face is in both."""


@dataclass(frozen=True, kw_only=True)
class _Sharded:
    uri: str
    manifest: Manifest


@flow(name="train-cnt", on_cancellation=[stop_jobs], on_crashed=[stop_jobs], on_failure=[stop_jobs])
def train_cnt(
    recipe: RecipeName = DEFAULT_RECIPE,
    datasets: Sequence[RawDataset] = RENDERED_TWICE,
    dataset_uris: list[DatasetUri] | None = None,
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None,
    workers: Annotated[int, Field(ge=1, le=1024)] = 2,
    cpus_per_worker: Annotated[float, Field(ge=0.1, le=1024)] = 1.0,
    gpu: bool = False,
    micro_batch: Annotated[int, Field(ge=1)] | None = None,
    changes: dict[str, bool | int | float | str] | None = None,
    run_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,69}$")] | None = None,
) -> list[dict[str, Any]]:
    """Train on all datasets at once; then fine-tune, evaluate and register a model of each dataset by itself.

    Args:
        recipe: Which experiment: its second stage, by which the first is known.
        datasets: Raw datasets to shard first; shards that are there are used as they are.
        dataset_uris: Datasets that are sharded already, instead.
        epochs: Of each stage, instead of the recipes'.
        workers: Processes that train together; they never change the result.
        cpus_per_worker: Processors of each; with `gpu` as many threads prepare its batches.
        gpu: One GPU a worker.
        micro_batch: Faces at a time in a worker, for less memory; never changes the result.
        changes: Dotted fields of both recipes, e.g. `{"train.seed": 1}`.
        run_name: Begins the names of all its runs, and resumes those there are; by default a name of its own, whose
            runs retries of this flow run resume.

    Returns:
        The evaluation of each dataset's model, in the order of the datasets.
    """
    first, second = (experiment(name, epochs, changes) for name in (recipe + _STAGE_1, recipe))
    crew = Workers(count=workers, gpu=gpu, micro_batch=micro_batch, cpus=cpus_per_worker)
    for config in (first, second):
        check_workers(config, crew)
    sharded = [open_dataset(uri) for uri in allowed_datasets(dataset_uris) or shard_all(datasets)]
    name = run_name or f"{recipe}-{on_all(first, sharded).fingerprint()}-{str(flow_run.id)[:8]}"
    both = f"{name}-stage1"
    train(both, command(both, recipe + _STAGE_1, first, [dataset.uri for dataset in sharded], crew), step="stage-1")
    answers = []
    for number, dataset in enumerate(sharded):
        own = f"{name}-{number}-{dataset.manifest.dataset}"
        train(own, command(own, recipe, second, [dataset.uri], crew, from_model=both), step=f"stage-2-{number}")
        answers.append(evaluate(own, dataset.uri, step=f"evaluate-{number}"))
        show(answers[-1], own)
    return answers


def allowed_datasets(uris: list[str] | None) -> list[str]:
    """The sharded datasets, if they may be read; none if there are none.

    Raises:
        ConfigError: If one lies outside the bucket of the settings.
    """
    return [str(allowed_dataset(uri)) for uri in uris or []]


def shard_all(datasets: Sequence[RawDataset]) -> list[str]:
    """The addresses of the datasets' manifests, once they are written."""
    return [shard_dataset(raw.dataset, raw.root, raw.options) for raw in datasets]


def open_dataset(uri: str) -> _Sharded:
    """A sharded dataset."""
    return _Sharded(uri=uri, manifest=read_manifest(S3Store.from_settings(settings.get()), uri))


def on_all(config: ExperimentConfig, sharded: Sequence[_Sharded]) -> ExperimentConfig:
    """The first stage on all datasets.

    Raises:
        ConfigError: If there are fewer than two, or they cannot be told apart.
    """
    if len(sharded) < 2:
        raise ConfigError(f"cross-protocol training takes two datasets or more, got {[one.uri for one in sharded]!r}")
    return on_data(config, [dataset.manifest for dataset in sharded])
