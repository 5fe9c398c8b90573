"""Studies and the searcher: what becomes of a trial, and of a driver that died. SQLite in a folder, no cluster.

pytest tests/unit/test_study.py
"""

import copy
import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, Trial, TrialState
from ray import cloudpickle

from adodn import recipes, settings
from adodn.errors import SearchError
from adodn.settings import Settings
from tune import storage
from tune.report import answer
from tune.search import scheduler
from tune.searcher import StudySearcher
from tune.space import SPACES
from tune.storage import Identity, begin, counted, current, load, owned, run_name, settle

CONFIG = recipes.adodn_smoke()
SPACE = SPACES["papers"]
DEFAULTS = SPACE.defaults(CONFIG)
METRIC = "val/nme"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home of the test's own, with a database that is given up after seconds."""
    monkeypatch.setenv("ADODN_HOME", str(tmp_path))
    monkeypatch.setenv("ADODN_STUDY_PATIENCE_S", "3")
    settings.get.cache_clear()
    yield settings.get()
    settings.get.cache_clear()


def identity(**changes: Any) -> Identity:
    whole = Identity(name="s", config=CONFIG, space=SPACE, objectives=("nme",), seed=0)
    return replace(whole, **changes)


def begun(places: Settings, *, resume: bool = False, **changes: Any) -> optuna.Study:
    return begin(identity(**changes), places, defaults=DEFAULTS, resume=resume)


@dataclass
class Trainings:
    """A search's own part: the values of those trainings that came to their end, by run name."""

    study: optuna.Study
    ended: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def job(self, trial: Trial) -> dict[str, Any]:
        return {"run_name": run_name(self.study, trial), "params": trial.params}

    def values(self, trial: Trial | FrozenTrial) -> tuple[float, ...] | None:
        return self.ended.get(run_name(self.study, trial))

    def changed(self, trial: Trial, state: TrialState) -> None:
        pass


def searcher(study: optuna.Study, trainings: Trainings, places: Settings) -> StudySearcher:
    return StudySearcher(study, SPACE, METRIC, trainings, places)


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def test_the_recipe_is_the_first_trial(places: Settings) -> None:
    """Whatever the seed, the search begins with the papers' values; the second trial is another."""
    for seed in range(3):
        study = begun(places, name=f"s{seed}", seed=seed)
        search = searcher(study, Trainings(study), places)

        assert search.suggest("a")["params"] == DEFAULTS
        assert search.suggest("b")["params"] != DEFAULTS


@pytest.mark.parametrize(
    ("ended", "result", "error", "expected"),
    [
        ((0.2,), {"epoch": 2, METRIC: 0.2}, False, "COMPLETE"),
        (None, {"epoch": 1, METRIC: 0.9}, False, "PRUNED"),
        (None, {"epoch": 1, METRIC: math.nan}, False, "FAIL"),
        ((math.nan,), {"epoch": 2, METRIC: math.nan}, False, "FAIL"),
        ((math.inf,), {"epoch": 2, METRIC: math.inf}, False, "FAIL"),
        (None, {"error": "ConfigError: no"}, False, "FAIL"),
        (None, None, True, "FAIL"),
    ],
)
def test_every_end_is_told(
    places: Settings, ended: tuple[float, ...] | None, result: dict[str, Any] | None, error: bool, expected: str
) -> None:
    """Finished, stopped early, not a number, raised, died: none stays RUNNING, failures say why, the search goes on."""
    study = begun(places)
    trainings = Trainings(study)
    search = searcher(study, trainings, places)
    name = search.suggest("a")["run_name"]
    trainings.ended |= {name: ended} if ended else {}
    search.on_trial_complete("a", result, error)

    (trial,) = study.get_trials()
    assert trial.state.name == expected
    assert (expected == "FAIL") == bool(trial.user_attrs.get("error"))
    assert trial.value == (result or {}).get(METRIC) if expected != "FAIL" else trial.values is None
    assert search.suggest("b")["params"] != DEFAULTS
    assert counted(study) == 1


def test_an_outage_judges_no_trial(places: Settings) -> None:
    """When a server is away the search stops, and the trial's values come again after a resumption."""
    study = begun(places)
    search = searcher(study, Trainings(study), places)
    search.suggest("a")
    with pytest.raises(SearchError, match="S3 is away"):
        search.on_trial_complete("a", {"outage": "S3 is away"})

    settle(study, Trainings(study).values)
    assert counted(study) == 0
    assert searcher(study, Trainings(study), places).suggest("b")["params"] == DEFAULTS


def test_what_a_dead_driver_left_running_is_settled(places: Settings) -> None:
    """Ended trainings get their result, others are told FAIL and queued with equal values under the same run name."""
    study = begun(places)
    search = searcher(study, Trainings(study), places)
    jobs = [search.suggest(trial) for trial in "abc"]
    search.on_trial_result("b", {"epoch": 1, METRIC: 0.5})
    del search

    resumed = begun(places, resume=True)
    trainings = Trainings(resumed, {jobs[0]["run_name"]: (0.25,)})
    assert settle(resumed, trainings.values) == [1, 2]
    assert settle(resumed, trainings.values) == []

    assert states(resumed) == ["COMPLETE", "FAIL", "FAIL", "WAITING", "WAITING"]
    assert resumed.best_value == 0.25
    assert counted(resumed) == 1
    search = searcher(resumed, trainings, places)
    assert [search.suggest(trial) for trial in "de"] == jobs[1:]
    assert [row["number"] for row in answer(resumed, places)["trials"]] == [0, 3, 4]
    assert answer(resumed, places)["interrupted"] == [1, 2]


def test_settling_may_itself_be_broken_off(places: Settings) -> None:
    """Killed between queueing a trial again and failing the old one, the next resumption does not queue it twice."""
    study = begun(places)
    job = searcher(study, Trainings(study), places).suggest("a")
    study.enqueue_trial(job["params"], user_attrs={"run_name": job["run_name"]})

    settle(study, Trainings(study).values)

    assert states(study) == ["FAIL", "WAITING"]


def test_a_trial_killed_while_it_was_chosen_keeps_its_values(places: Settings) -> None:
    """Between being asked for and having its parameters, the first trial still comes again as the recipe."""
    study = begun(places)
    study.ask()

    settle(study, Trainings(study).values)

    assert searcher(study, Trainings(study), places).suggest("b")["params"] == DEFAULTS


def test_a_resumed_sampler_does_not_draw_the_same_again(places: Settings) -> None:
    """The seed counts on with the trials, while two searches of one seed draw alike."""

    def drawn(study: optuna.Study) -> list[dict[str, Any]]:
        search = searcher(study, Trainings(study), places)
        return [search.suggest(str(number))["params"] for number in range(3)]

    first, other = drawn(begun(places)), drawn(begun(places, name="t"))
    again = drawn(begun(places, resume=True))

    assert first == other
    assert not any(params in first for params in again)


def test_a_name_is_taken_once(places: Settings) -> None:
    """Without --resume an existing search is refused, and nothing is added to it."""
    study = begun(places)
    with pytest.raises(SearchError, match="'s' exists already; go on with it by --resume"):
        begun(places)

    assert states(study) == ["WAITING"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"space": SPACES["papers_apart"]}, r"space\.eta was .* now missing"),
        ({"config": CONFIG.with_fields({"train.epochs": 9})}, r"experiment\.train\.epochs was 3, now 9"),
        ({"config": CONFIG.with_fields({"data.dataset": "abc"})}, r'experiment\.data\.dataset was "", now "abc"'),
        ({"seed": 4}, "seed was 0, now 4"),
    ],
)
def test_another_search_is_refused_with_its_differences(places: Settings, changes: dict[str, Any], named: str) -> None:
    """Another space, experiment, dataset or seed cannot go on with a study; the message names what differs."""
    begun(places)
    with pytest.raises(SearchError, match=named):
        begun(places, resume=True, **changes)


def test_a_study_that_lost_its_first_steps_is_made_whole(places: Settings) -> None:
    """Killed right after its row was made, a study still gets its identity and its first trial."""
    optuna.create_study(study_name="s", storage=storage.open_storage(places))
    study = begun(places, resume=True)

    assert searcher(study, Trainings(study), places).suggest("a")["params"] == DEFAULTS
    with pytest.raises(SearchError, match="another one"):
        begun(places, resume=True, seed=1)


def test_an_unknown_search_is_a_clear_error(places: Settings) -> None:
    """Loading it names it, its database, and how it is begun."""
    with pytest.raises(SearchError, match=r"no search 'nope' in sqlite:.* `adodn search --name nope`"):
        load("nope", places)


def test_two_drivers_cannot_hold_one_search(places: Settings) -> None:
    """The second is refused while the first lives; another search is free."""
    with owned("s"), owned("t"), pytest.raises(SearchError, match="'s' is running already"), owned("s"):
        pass
    with owned("s"):
        pass


def test_a_locked_database_is_waited_for(places: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that meets a database in use is not lost: it is written when that is free."""
    monkeypatch.setattr(storage, "_LOCK_WAIT_S", 0)
    study = begun(places)
    trainings = Trainings(study)
    search = searcher(study, trainings, places)
    trainings.ended[search.suggest("a")["run_name"]] = (0.5,)
    other = sqlite3.connect(settings.home() / "studies.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(1.5, lambda: other.execute("ROLLBACK"))
    release.start()
    began = time.monotonic()

    search.on_trial_complete("a", {"epoch": 1, METRIC: 0.5})

    assert time.monotonic() - began > 1
    assert study.best_value == 0.5


def test_a_database_that_stays_away_is_one_clear_error(places: Settings) -> None:
    """The message has its address without the password, and the way out."""
    broken = places.model_copy(update={"study_url": "sqlite:////nowhere/at/all.db", "study_patience_s": 0.1})

    with pytest.raises(SearchError, match=r"sqlite:////nowhere/at/all\.db does not answer: .* ADODN_STUDY_URL"):
        storage.open_storage(broken)
    secret = places.model_copy(update={"study_url": "postgresql+psycopg://user:hush@db/studies"})
    assert storage.shown_url(secret) == "postgresql+psycopg://user@db/studies"


def test_rungs_are_as_the_trials_before_left_them(places: Settings) -> None:
    """After a resumption, a trial worse than most before is stopped at the first rung, a better one goes on."""
    config = CONFIG.with_fields({"train.epochs": 9, "model.drop_warmup_epochs": 0})
    study = begun(places)
    search = searcher(study, Trainings(study), places)
    for number, value in enumerate((0.1, 0.2, 0.3)):
        search.suggest(str(number))
        search.on_trial_complete(str(number), {"epoch": 1, METRIC: value})

    @dataclass
    class Fresh:
        trial_id: str

    def decision(value: float) -> str:
        asha, trial = scheduler(config, METRIC, study), Fresh("new")
        asha.on_trial_add(None, trial)
        return str(asha.on_trial_result(None, trial, {"epoch": 1, METRIC: value}))

    assert (decision(0.25), decision(0.05)) == ("STOP", "CONTINUE")


def test_no_trial_is_stopped_before_the_mask_is_dropped(places: Settings) -> None:
    """In the warm-up p and τ_d have no effect, so that nothing may be judged then."""
    study = begun(places)
    search = searcher(study, Trainings(study), places)
    for number in range(4):
        search.suggest(str(number))
        for epoch in (1, 2, 3):
            search.on_trial_result(str(number), {"epoch": epoch, METRIC: 0.1})
    config = CONFIG.with_fields({"train.epochs": 9, "model.drop_warmup_epochs": 2})
    asha = scheduler(config, METRIC, study)

    @dataclass
    class Bad:
        trial_id: str = "bad"

    asha.on_trial_add(None, Bad())
    decisions = [str(asha.on_trial_result(None, Bad(), {"epoch": epoch, METRIC: 9.0})) for epoch in (1, 2, 3)]

    assert decisions == ["CONTINUE", "CONTINUE", "STOP"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 9, 27])
def test_no_trial_is_stopped_at_its_last_epoch(places: Settings, epochs: int) -> None:
    """There is nothing left to save, and its result counts, however bad."""
    config = CONFIG.with_fields({"train.epochs": epochs, "model.drop_warmup_epochs": 0})
    study = begun(places)
    search = searcher(study, Trainings(study), places)
    for number in range(4):
        search.suggest(str(number))
        for epoch in range(1, epochs + 1):
            search.on_trial_result(str(number), {"epoch": epoch, METRIC: 0.1})
    asha = scheduler(config, METRIC, study)

    @dataclass
    class Late:
        trial_id: str = "late"

    asha.on_trial_add(None, Late())
    values = [0.01] * (epochs - 1) + [9.0]
    decisions = [str(asha.on_trial_result(None, Late(), {"epoch": n + 1, METRIC: v})) for n, v in enumerate(values)]

    assert decisions == ["CONTINUE"] * epochs


def test_two_objectives_have_a_front(places: Settings) -> None:
    """Of several values the best are those that no other trial beats in all."""
    study = begun(places, objectives=("nme", "parameters"))
    trainings = Trainings(study)
    search = StudySearcher(study, SPACE, None, trainings, places)
    for trial, values in {"a": (0.1, 9.0), "b": (0.2, 5.0), "c": (0.3, 7.0)}.items():
        trainings.ended[search.suggest(trial)["run_name"]] = values
        search.on_trial_result(trial, {"epoch": 1, METRIC: 0.5})
        search.on_trial_complete(trial, {"epoch": 1, METRIC: 0.5})

    assert sorted(row["number"] for row in answer(study, places)["best"]) == [0, 1]
    assert [trial.number for trial in current(study)] == [0, 1, 2]


def test_a_search_with_a_live_table_can_be_pickled_by_tune(places: Settings) -> None:
    """Tune writes what it was given to files that nobody reads; a display, which has locks, must not stop it."""
    trainings = Trainings(begun(places))
    trainings.display = threading.RLock()  # type: ignore[attr-defined]
    searcher = StudySearcher(trainings.study, SPACE, METRIC, trainings, places)

    assert isinstance(cloudpickle.loads(cloudpickle.dumps(searcher)), StudySearcher)
    assert copy.deepcopy(searcher) is searcher
