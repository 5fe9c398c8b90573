"""Between Ray Tune, which runs trials, and an Optuna study, which chooses and remembers them.

    tune.TuneConfig(search_alg=StudySearcher(study, space, hooks, places), …)

Not Ray's own `OptunaSearch`, for what that does with faults: a trial that reports NaN stays RUNNING for ever, one that
is stopped early counts as COMPLETE, a result is lost when the database is away (the error is only logged), the number
of a trial is not to be had, and its state is a pickle of the whole searcher. This one keeps no state but the study.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from adodn.errors import SearchError
from adodn.settings import Settings
from tune.space import Parameter, Space
from tune.storage import patiently, run_name

ERROR, OUTAGE = "error", "outage"
"""Keys under which a trial's last report says why it ended: by its own fault, or by that of a server."""


class Hooks(Protocol):
    """What a search does where its searcher chooses and hears of trials."""

    def job(self, trial: Trial) -> dict[str, Any]:
        """What a trial needs to know to run."""
        ...

    def values(self, trial: Trial) -> tuple[float, ...] | None:
        """The objective's values, if the trial's training came to its end."""
        ...

    def changed(self, trial: Trial, state: TrialState) -> None:
        """A trial has begun, has come further, or is over."""
        ...


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray is not typed
    """Asks a study for trials and tells it what became of them.

    Args:
        study: As `storage.begin` gives it.
        space: What is searched.
        metric: What trials report of an epoch, kept as intermediate value; None: nothing, as with several objectives.
        hooks: The search's own part.
        places: How long to wait for the database.
    """

    def __init__(self, study: optuna.Study, space: Space, metric: str | None, hooks: Hooks, places: Settings) -> None:
        super().__init__()
        self._study = study
        self._space = {parameter.name: distribution(parameter) for parameter in space.parameters}
        self._reported = metric
        self._hooks = hooks
        self._places = places
        self._trials: dict[str, Trial] = {}
        self._noted: dict[int, int] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "StudySearcher":
        """Itself, should Tune copy it: a study, a display and a database have no copies."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles what it is given into files that nobody ever reads; a display could not be."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next trial's job.

        Raises:
            SearchError: If the database stays away.
        """
        trial = patiently(lambda: self._study.ask(self._space), self._places)
        name = run_name(self._study, trial)
        patiently(lambda: trial.set_user_attr("run_name", name), self._places)
        self._trials[trial_id] = trial
        self._hooks.changed(trial, TrialState.RUNNING)
        return self._hooks.job(trial)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note the value of an epoch.

        Raises:
            SearchError: If the database stays away.
        """
        trial = self._trials[trial_id]
        self._note(trial, result)
        self._hooks.changed(trial, TrialState.RUNNING)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study how a trial ended.

        Raises:
            SearchError: If the database stays away, or the trial could not run for another server's sake.
        """
        trial = self._trials.pop(trial_id)
        if result and OUTAGE in result:
            raise SearchError(f"trial {trial.number} was interrupted: {result[OUTAGE]}; then go on with --resume")
        self._note(trial, result or {})
        state, values, problem = self._verdict(trial, result, error)
        if problem:
            patiently(lambda: trial.set_user_attr(ERROR, problem), self._places)
        patiently(lambda: self._study.tell(trial, values, state=state, skip_if_finished=True), self._places)
        self._hooks.changed(trial, state)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state, and it is saved."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise: no pickle is ever read."""

    def _note(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """Keep an epoch's value, once: Tune shows the last one again when the trial is over."""
        value, epoch = result.get(self._reported or ""), int(result.get("epoch", 0))
        if value is not None and math.isfinite(value) and epoch > self._noted.get(trial.number, 0):
            self._noted[trial.number] = epoch
            patiently(lambda: trial.report(float(value), epoch), self._places)

    def _verdict(
        self, trial: Trial, result: Mapping[str, Any] | None, error: bool
    ) -> tuple[TrialState, list[float] | None, str]:
        if error:
            return TrialState.FAIL, None, "its process died; `adodn logs ray` may say why"
        if result and ERROR in result:
            return TrialState.FAIL, None, str(result[ERROR])
        values = self._hooks.values(trial)
        shown = values or ((result or {}).get(self._reported or "", 0.0),)
        if not all(map(math.isfinite, shown)):
            return TrialState.FAIL, None, f"its objective is not a finite number: {shown!r}"
        return (TrialState.COMPLETE, list(values), "") if values else (TrialState.PRUNED, None, "")


def distribution(parameter: Parameter) -> BaseDistribution:
    """How Optuna draws a parameter."""
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    assert parameter.low is not None and parameter.high is not None  # by Parameter's own check
    return FloatDistribution(parameter.low, parameter.high, log=parameter.scale == "log")
