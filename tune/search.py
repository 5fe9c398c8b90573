"""A search: Ray Tune runs its trials on a cluster, a few at once, and stops early those that fall behind.

    plan = Plan(name="first", config=config, dataset_uris=(uri,), space=space.get("papers"), trials=20)
    study = search(plan, places=settings.get(), resume=False)

Resuming begins Tune anew for the trials that are left: all that a search knows is in its study, so that Tune's own
files, some of which are pickles, are written but never read. What is found is `report.py`'s to show.
"""

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import optuna
import ray
from optuna.trial import FrozenTrial, Trial, TrialState
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from adodn import publish
from adodn.config import ExperimentConfig, local_batch
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import ConfigError, TrackingError
from adodn.interrupts import undisturbed
from adodn.settings import Settings
from adodn.tracking import DatasetRef, Tracker
from adodn.train.distributed import Resources, filesystem
from adodn.train.loop import val_metric
from tune import storage
from tune.findings import Findings, findings
from tune.objective import Job, check_objectives, objective_values, run_trial, share_of
from tune.searcher import StudySearcher
from tune.space import Space
from tune.storage import Identity, patiently

_LOG = logging.getLogger(__name__)
_REDUCTION = 3
"""Of the trials that reach a rung, ASHA lets go on the best one in so many."""
_STATUS: dict[TrialState, Literal["FINISHED", "FAILED"]] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAIL: "FAILED",
}
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files of what MLflow has
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails before its first epoch reports no metric
    "RAY_AIR_NEW_OUTPUT": "0",
}

Changed = Callable[[optuna.Study, bool], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is searched, and with what."""

    name: str
    """Of the study, of the run on MLflow, and, with a number, of the trials' runs."""
    config: ExperimentConfig
    """The experiment that trials vary, on its data; its own values are the first trial."""
    dataset_uris: tuple[str, ...]
    space: Space
    trials: int
    """In all, those before a resumption included."""
    concurrent: int | None = None
    """Trials at once; None: as many as the cluster holds."""
    resources: Resources = field(default_factory=lambda: Resources(num_workers=1, max_failures=1))
    """Of each trial."""
    objectives: tuple[str, ...] = ("nme",)
    seed: int = 0
    """Of the sampler; the experiment has its own."""

    @property
    def identity(self) -> Identity:
        """What makes it this search."""
        return Identity(
            name=self.name, config=self.config, space=self.space, objectives=self.objectives, seed=self.seed
        )


def search(
    plan: Plan,
    *,
    places: Settings,
    resume: bool,
    changed: Changed = lambda study, is_over: None,
    found: Callable[[Findings], None] = lambda findings: None,
) -> optuna.Study:
    """Run the trials that are left, on the Ray cluster at hand. Ctrl-C, or any death, leaves what can be resumed.

    Args:
        plan: What to search.
        places: Where servers are.
        resume: Go on with the search of that name, if there is one.
        changed: Told of the study whenever a trial begins, comes further or is over, and whether one is over.
        found: Given what the run on MLflow keeps when all trials are over: pictures, and the best config.

    Raises:
        ConfigError: If the cluster cannot hold a trial, or something in the plan does not fit.
        SearchError: If the name is taken, or the study is another search's, or its database stays away.
        TrackingError: If MLflow cannot be reached.
    """
    check_objectives(plan.objectives)
    local_batch(plan.config, plan.resources.num_workers)
    defaults, at_once = plan.space.defaults(plan.config), _at_once(plan)
    with storage.owned(plan.name):
        study = storage.begin(plan.identity, places, defaults=defaults, resume=resume)
        parts = _Search(plan, study, places, changed)
        parts.settle()
        left = plan.trials - patiently(lambda: storage.counted(study), places)
        try:
            if left > 0:
                _run(_tuner(parts, left, min(at_once, left)), parts)
        except BaseException:
            with undisturbed():
                parts.close("KILLED")
            raise
        parts.close("FINISHED")
        made = findings(study, plan.space, plan.config, plan.objectives)
        found(made)
        parts.keep(made)
    return study


class _Search:
    """The searcher's hooks, and all of a search that lasts as long as its driver."""

    def __init__(self, plan: Plan, study: optuna.Study, places: Settings, changed: Changed) -> None:
        self.plan = plan
        self.study = study
        self.places = places
        self._changed = changed
        self._tracker = _start_tracking(plan, places)

    def settle(self) -> None:
        """Take care of what is left running by a driver that is no more."""
        for number in patiently(lambda: storage.settle(self.study, self.values), self.places):
            name = storage.run_name(self.study, self.study.get_trials(deepcopy=False)[number])
            self._track(partial(self._tracker.finish_nested, name, "KILLED", {}))
        self._changed(self.study, True)

    def close(self, status: Any) -> None:
        """Leave no trial running, in the study or on MLflow."""
        self.settle()
        self._track(self._catch_up)
        self._track(lambda: self._tracker.finish(status))

    def _catch_up(self) -> None:
        """Tell MLflow of trials whose end it missed: it was away, or a driver died between telling study and MLflow."""
        missed = self._tracker.nested_without("state")
        for trial in storage.current(self.study):
            name = storage.run_name(self.study, trial)
            if name in missed and trial.state in _STATUS:
                self._tracker.finish_nested(name, _STATUS[trial.state], {"state": trial.state.name})

    def keep(self, found: Findings) -> None:
        """Put pictures and the best config beside the search's figures, and on the store."""
        found.write(S3Store.from_settings(self.places), f"{self.places.searches_uri}/{self.plan.name}")

        def log() -> None:
            for name, content in found.files.items():
                self._tracker.log_bytes(f"search/{name}", content)

        self._track(log)

    def job(self, trial: Trial) -> dict[str, Any]:
        """What a trial's driver is given."""
        plan = self.plan
        return {
            "job": Job(
                config=plan.config.to_json(),
                fields=plan.space.fields_of(trial.params),
                dataset_uris=plan.dataset_uris,
                run_name=storage.run_name(self.study, trial),
                search_run_id=self._tracker.run_id,
                tags={"search": plan.name, "trial": str(trial.number)},
                resources=plan.resources,
            )
        }

    def values(self, trial: Trial | FrozenTrial) -> tuple[float, ...] | None:
        """The objective's values, if the trial's training came to its end."""
        name = storage.run_name(self.study, trial)
        if not S3Store.from_settings(self.places).exists(publish.outcome_uri(name, self.places)):
            return None
        config = self.plan.space.apply(self.plan.config, trial.params)
        return objective_values(publish.read_outcome(name, self.places), config, self.plan.objectives)

    def changed(self, trial: Trial, state: TrialState) -> None:
        """Show it; of a trial that is over, tell MLflow."""
        self._changed(self.study, state in _STATUS)
        if state in _STATUS:
            name, status = storage.run_name(self.study, trial), _STATUS[state]
            self._track(lambda: self._tracker.finish_nested(name, status, {"state": state.name}))
            if state == TrialState.COMPLETE:
                values = self.study.get_trials(deepcopy=False)[trial.number].values
                metrics = {f"search/{name}": value for name, value in zip(self.plan.objectives, values, strict=True)}
                self._track(lambda: self._tracker.log_epoch(trial.number, metrics))

    def _track(self, call: Callable[[], None]) -> None:
        """What MLflow is told here is for show: while it is away, the search goes on."""
        try:
            call()
        except TrackingError as error:
            _LOG.warning("%s", error)


def _start_tracking(plan: Plan, places: Settings) -> Tracker:
    store = S3Store.from_settings(places)
    manifests = {uri: read_manifest(store, uri) for uri in plan.dataset_uris}
    tracker = Tracker(places.mlflow_tracking_uri)
    ranges = {f"space.{name}": {**row, "name": None} for name, row in plan.space.rows().items()}
    tracker.start(
        plan.name,
        fingerprint=plan.identity.fingerprint(),
        params={"recipe": plan.config.name, "objectives": ", ".join(plan.objectives), "seed": plan.seed}
        | {name: ", ".join(f"{key}={value}" for key, value in row.items() if value) for name, row in ranges.items()},
        tags={"study": storage.shown_url(places), "trials": str(plan.trials), "space": plan.space.digest()},
        datasets=[
            DatasetRef(name=manifest.dataset, digest=manifest.digest, uri=uri) for uri, manifest in manifests.items()
        ],
    )
    return tracker


def _run(tuner: tune.Tuner, parts: _Search) -> None:
    """Until all trials are over. At Ctrl-C, Tune ends its trials and returns, as after the last one.

    An exception raised at the signal would be lost wherever Python ignores exceptions: in a destructor, or a callback
    of a weak reference.
    """
    tuner.fit()
    if patiently(lambda: storage.counted(parts.study), parts.places) < parts.plan.trials:
        raise KeyboardInterrupt


def _tuner(parts: _Search, left: int, at_once: int) -> tune.Tuner:
    os.environ |= _QUIET
    # It misses the files that it was told not to write, and its advice on how to go on is not how ours does.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    plan, places = parts.plan, parts.places
    metric = val_metric(plan.config) if len(plan.objectives) == 1 else None
    alone = plan.resources.num_workers == 1
    return tune.Tuner(
        tune.with_resources(run_trial, share_of(plan.resources)),
        tune_config=tune.TuneConfig(
            num_samples=left,
            max_concurrent_trials=at_once,
            search_alg=StudySearcher(parts.study, plan.space, metric, parts, places),
            scheduler=scheduler(plan.config, metric, parts.study),
            # The process that trained one trial trains the next: it has imported all that it needs. Not the driver of
            # several workers: one whose trial was stopped early still waits for them, and cannot be.
            reuse_actors=alone,
            trial_dirname_creator=lambda trial: trial.config["job"].run_name,
        ),
        run_config=tune.RunConfig(
            name=plan.name,
            storage_path=f"{places.runs_uri}/searches".removeprefix("s3://"),
            storage_filesystem=filesystem(places),
            verbose=0,
            # Of a process that died: with several workers, Ray Train has begun them again already.
            failure_config=tune.FailureConfig(max_failures=plan.resources.max_failures if alone else 0),
        ),
    )


def scheduler(config: ExperimentConfig, metric: str | None, study: optuna.Study) -> TrialScheduler:
    """ASHA on the reported epoch, its rungs as the study's trials left them; no early stops without a metric.

    The first rung lies behind the warm-up in which the importance map is always taken: p and τ_d mean nothing before.
    None lies at the last epoch, where there is nothing left to save.
    """
    last = config.train.epochs - 1
    first = max(1, round(config.train.epochs / _REDUCTION**2), config.model.drop_warmup_epochs + 1)
    if metric is None or first > last:
        return FIFOScheduler()
    asha = ASHAScheduler(
        time_attr="epoch",
        metric=metric,
        mode="min",
        max_t=last,
        grace_period=first,
        reduction_factor=_REDUCTION,
        stop_last_trials=False,
    )
    for trial in study.get_trials(deepcopy=False):
        stand_in = SimpleNamespace(trial_id=f"before-{trial.number}")
        asha.on_trial_add(None, stand_in)
        for epoch, value in sorted(trial.intermediate_values.items()):
            asha.on_trial_result(None, stand_in, {"epoch": epoch, metric: value})
    return asha


def _at_once(plan: Plan) -> int:
    """Trials that the cluster holds side by side, or as many as are wanted if that is fewer."""
    wanted = {"CPU": plan.resources.num_workers * plan.resources.cpus_per_worker}
    wanted |= {"GPU": plan.resources.num_workers} if plan.resources.use_gpu else {}
    there = ray.cluster_resources()
    fits: int = min(math.floor(there.get(kind, 0) / amount + 1e-9) for kind, amount in wanted.items())
    if fits < 1:
        asked = ", ".join(f"{amount:g} {kind}" for kind, amount in wanted.items())
        has = ", ".join(f"{there.get(kind, 0):g} {kind}" for kind in wanted)
        raise ConfigError(
            f"a trial takes {asked}, the Ray cluster has {has}; give it fewer workers or a larger cluster"
        )
    return min(fits, plan.concurrent or fits)


def best(study: optuna.Study) -> list[FrozenTrial]:
    """The trial with the least value, or with several objectives those that none beats in all: the Pareto front."""
    if any(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False)):
        return list(study.best_trials)
    return []
