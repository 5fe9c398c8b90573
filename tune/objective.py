"""One trial: its values into the config, the config to the driver that `adodn train` uses, what came of it.

    tune.with_resources(run_trial, share_of(resources))       # Ray Tune's trainable
    objective_values(outcome, config, ("nme", "parameters"))

Trials see the training and the validation split; nothing here can reach the test split.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from adodn import models, publish, settings
from adodn.config import ExperimentConfig
from adodn.errors import ConfigError, StorageError, TrackingAwayError
from adodn.publish import Outcome
from adodn.tracking import PARENT
from adodn.train import alone, distributed
from adodn.train.distributed import Resources
from tune.searcher import ERROR, OUTAGE

OBJECTIVES = ("nme", "parameters")
"""What can be minimised: the validation NME of the best epoch, a fraction; how many parameters the network has."""
DRIVER_CPUS = 0.01
"""What a driver of several workers asks for: it only waits. Taken from their share, so that trials fill the cluster."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a trial needs; travels to its driver as plain values."""

    config: str
    """The experiment that is varied, as JSON."""
    fields: dict[str, object]
    """Dotted fields with the trial's values. The config may refuse them together, which is the trial's own fault."""
    dataset_uris: tuple[str, ...]
    run_name: str
    search_run_id: str
    """The search's run on MLflow, in which the trial's is nested."""
    tags: dict[str, str]
    resources: Resources


def run_trial(given: dict[str, Any]) -> dict[str, str] | None:
    """Ray Tune's trainable: train, report each epoch, and say why it could not be done.

    A training that came to its end under this name is not done again; one that was interrupted goes on.
    """
    job: Job = given["job"]
    # Read when the trial is stopped early; on a busy machine, Tune's 2 s may not do for its thread to end.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "60"
    try:
        _train(job)
    except (StorageError, TrackingAwayError) as error:
        return {OUTAGE: str(error)}
    except Exception as error:  # whatever it is, it is this trial's own, and the search goes on
        return {ERROR: f"{type(error).__name__}: {error}"}
    return None


def _train(job: Job) -> None:
    config, places = ExperimentConfig.from_json(job.config).with_fields(job.fields), settings.get()
    if publish.claim_run(config, job.run_name, places) is not None:
        return
    tags, workers = job.tags | {PARENT: job.search_run_id}, job.resources.num_workers
    if workers == 1:
        alone.train(
            config,
            job.dataset_uris,
            run_name=job.run_name,
            places=places,
            threads=max(1, round(job.resources.cpus_per_worker)),
            loader_threads=distributed.loader_threads(job.resources),
            use_gpu=job.resources.use_gpu,
            tags=tags,
            heard=tune.report,
        )
        return
    distributed.train(
        config,
        job.dataset_uris,
        run_name=job.run_name,
        resources=replace(job.resources, cpus_per_worker=job.resources.cpus_per_worker - DRIVER_CPUS / workers),
        places=places,
        tags=tags,
        callbacks=[TuneReportCallback()],
    )


def share_of(resources: Resources) -> dict[str, float]:
    """What Tune's actor of a trial asks of the cluster: all where it trains itself, next to nothing where it waits."""
    if resources.num_workers > 1:
        return {"CPU": DRIVER_CPUS}
    return {"CPU": resources.cpus_per_worker} | ({"GPU": 1.0} if resources.use_gpu else {})


def objective_values(outcome: Outcome, config: ExperimentConfig, objectives: Sequence[str]) -> tuple[float, ...]:
    """What a finished training is judged by; less is better.

    Args:
        outcome: Of the training.
        config: Its experiment.
        objectives: Some of `OBJECTIVES`, in this order.
    """
    measured = {"nme": lambda: outcome.val_nme, "parameters": lambda: float(count_parameters(config))}
    return tuple(measured[name]() for name in objectives)


def count_parameters(config: ExperimentConfig) -> int:
    """Parameters of the network, all of them learnt."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in models.build_for(config).parameters())


def check_objectives(objectives: Sequence[str]) -> None:
    """Refuse what cannot be minimised.

    Raises:
        ConfigError: If there is none, one is unknown, or one comes twice.
    """
    if not objectives or len(set(objectives)) < len(objectives) or not set(objectives) <= set(OBJECTIVES):
        raise ConfigError(f"objectives are some of {', '.join(OBJECTIVES)}, each once, got {list(objectives)!r}")
