"""What a search has found, as plain rows: for the terminal, for `--json`, for Prefect.

rows = trial_rows(study)
answer(study, places)["best"]
"""

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from adodn.settings import Settings
from tune.search import best
from tune.storage import current, run_name, shown_url


def trial_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """A row for each trial that counts, in their order; those that were interrupted and begun again are not among them.

    Returns:
        `number`, `state` (COMPLETE, PRUNED, FAIL, RUNNING or WAITING), `run_name`, `params`, `values` (by objective,
        empty unless COMPLETE), `epochs` and `nme` of the last epoch reported, `seconds`, `error`.
    """
    return [_row(study, trial) for trial in current(study)]


def answer(study: optuna.Study, places: Settings) -> dict[str, Any]:
    """All of a search as plain JSON."""
    rows = trial_rows(study)
    shown = {row["number"] for row in rows}
    return {
        "name": study.study_name,
        "study": shown_url(places),
        "best": [_row(study, trial) for trial in best(study)],
        "trials": rows,
        "interrupted": [trial.number for trial in study.get_trials(deepcopy=False) if trial.number not in shown],
    }


def _row(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    complete = trial.state == TrialState.COMPLETE
    epoch = trial.last_step
    return {
        "number": trial.number,
        "state": trial.state.name,
        "run_name": run_name(study, trial),
        "params": trial.params,
        "values": list(trial.values) if complete else [],
        "epochs": epoch or 0,
        "nme": None if epoch is None else trial.intermediate_values[epoch],
        "seconds": trial.duration.total_seconds() if trial.duration else None,
        "error": trial.user_attrs.get("error"),
    }
