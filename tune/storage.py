"""Studies in a database: begun once, gone on with after any death, never by another search.

    study = begin(identity, places, defaults=space.defaults(config), resume=False)
    settle(study, finished)                 # what a dead driver left running
    left = total - counted(study)

A study is the only state of a search. Optuna keeps it as rows of plain values; nothing of it is ever unpickled.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from adodn import settings
from adodn.config import ExperimentConfig
from adodn.errors import SearchError
from adodn.settings import Settings
from tune.space import Scalar, Space

_T = TypeVar("_T")
_IDENTITY = "identity"
_RUN_NAME = "run_name"
_DONE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_LOCK_WAIT_S = 60
"""SQLite's own wait for a writer of another process, such as a search beside this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What makes two searches one: only then may the second go on with the first's study."""

    name: str
    config: ExperimentConfig
    """What trials vary, on its data."""
    space: Space
    objectives: tuple[str, ...]
    seed: int

    def facts(self) -> dict[str, Any]:
        """All that is compared, as plain JSON."""
        experiment = asdict(self.config) | {"name": ""}
        facts = {
            "space": self.space.rows(),
            "experiment": experiment,
            "objectives": self.objectives,
            "seed": self.seed,
        }
        plain: dict[str, Any] = json.loads(json.dumps(facts))
        return plain

    def fingerprint(self) -> str:
        """12 hex digits over all of it."""
        canonical = json.dumps(self.facts(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def begin(identity: Identity, places: Settings, *, defaults: Mapping[str, Scalar], resume: bool) -> optuna.Study:
    """The study of a search: a new one whose first trial will be the defaults, or the one to go on with.

    Raises:
        SearchError: If the name is taken and this is no resumption, if it is another search's, or the database does not
            answer.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(places)
    study = patiently(lambda: _create(identity, storage, resume), places)
    known = patiently(lambda: study.user_attrs, places).get(_IDENTITY)
    if known is None:
        patiently(lambda: study.set_user_attr(_IDENTITY, identity.facts()), places)
    elif known != identity.facts():
        raise SearchError(
            f"search {identity.name!r} is another one: {'; '.join(_differences(known, identity.facts()))}; "
            "put that back, or choose another name"
        )
    trials = patiently(lambda: study.get_trials(deepcopy=False), places)
    if not trials:
        patiently(lambda: study.enqueue_trial(dict(defaults)), places)
    # A sampler that began at the same seed again would draw the same values again.
    study.sampler = TPESampler(seed=identity.seed + len(trials))
    return study


def load(name: str, places: Settings) -> optuna.Study:
    """The study of a search, to look at.

    Raises:
        SearchError: If there is none, or the database does not answer.
    """
    storage = open_storage(places)
    try:
        return patiently(lambda: optuna.load_study(study_name=name, storage=storage), places)
    except KeyError:
        raise SearchError(
            f"no search {name!r} in {shown_url(places)}; `adodn search --name {name}` begins it"
        ) from None


def settle(study: optuna.Study, finished: Callable[[FrozenTrial], Sequence[float] | None]) -> list[int]:
    """Take care of the trials that a driver left running when it died.

    One whose training came to its end gets its result. Any other is told FAIL, and its values are queued again under
    the same run name, so that its training goes on at its last checkpoint.

    Args:
        study: Of which no driver is alive.
        finished: The values of a trial's run, if its training came to its end.

    Returns:
        The numbers of those that were told FAIL.
    """
    trials = study.get_trials(deepcopy=False)
    waiting = {run_name(study, trial) for trial in trials if trial.state == TrialState.WAITING}
    failed = []
    for trial in (trial for trial in trials if trial.state == TrialState.RUNNING):
        if values := finished(trial):
            study.tell(trial.number, list(values))
            continue
        name = run_name(study, trial)
        if name not in waiting:  # else this was done before, and broken off
            fixed = trial.system_attrs.get("fixed_params", {})
            study.enqueue_trial(fixed | trial.params, user_attrs={_RUN_NAME: name})
        study.tell(trial.number, state=TrialState.FAIL)
        failed.append(trial.number)
    return failed


def run_name(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> str:
    """The name of a trial's training: that of the interrupted one it goes on with, else its own."""
    return str(trial.user_attrs.get(_RUN_NAME) or f"{study.study_name}-{trial.number:04d}")


def current(study: optuna.Study) -> list[FrozenTrial]:
    """Of each training its latest trial, in the order of their beginning: without those that were interrupted."""
    latest = {run_name(study, trial): trial for trial in study.get_trials(deepcopy=False)}
    return [latest[name] for name in sorted(latest)]


def left_running(study: optuna.Study) -> list[str]:
    """Names of the trainings that a study shows as running."""
    return [run_name(study, trial) for trial in current(study) if trial.state == TrialState.RUNNING]


def counted(study: optuna.Study) -> int:
    """Trials that are over and count towards the total: finished, stopped early, or failed by themselves."""
    return sum(trial.state in _DONE for trial in current(study))


def open_storage(places: Settings) -> RDBStorage:
    """The database of the settings.

    Raises:
        SearchError: If it does not answer.
    """
    url = places.study_url
    sqlite = url.startswith("sqlite")
    if sqlite:
        settings.home().mkdir(parents=True, exist_ok=True)
    kwargs = {"connect_args": {"timeout": _LOCK_WAIT_S}} if sqlite else {"pool_pre_ping": True}
    return patiently(lambda: RDBStorage(url, engine_kwargs=kwargs), places)


def shown_url(places: Settings) -> str:
    """The database's address without its password."""
    parts = urlsplit(places.study_url)
    return places.study_url.replace(f":{parts.password}@", "@") if parts.password else places.study_url


def patiently(call: Callable[[], _T], places: Settings) -> _T:
    """Do something with the database; wait for it when it went away.

    Raises:
        SearchError: If it stays away.
    """
    away = (StorageInternalError, SQLAlchemyError)
    attempts = Retrying(
        stop=stop_after_delay(places.study_patience_s),
        wait=wait_fixed(1),
        retry=retry_if_exception_type(away),
        reraise=True,
    )
    try:
        return attempts(call)
    except (*away, ImportError) as error:
        cause = error.__cause__ or error
        raise SearchError(
            f"the database of studies {shown_url(places)} does not answer: {str(cause).splitlines()[0]}; see to it, or "
            "set ADODN_STUDY_URL, and go on with --resume"
        ) from error


@contextmanager
def owned(name: str) -> Iterator[None]:
    """Hold a search for this process; the system lets go of it when the process dies, however it does.

    Raises:
        SearchError: If another process of this machine holds it.
    """
    folder = settings.home() / "searches"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{name}.lock", timeout=0):
            yield
    except Timeout:
        raise SearchError(f"search {name!r} is running already on this machine; stop that one first") from None


def _create(identity: Identity, storage: RDBStorage, resume: bool) -> optuna.Study:
    try:
        return optuna.create_study(
            study_name=identity.name,
            storage=storage,
            directions=["minimize"] * len(identity.objectives),
            load_if_exists=resume,
        )
    except DuplicatedStudyError:
        raise SearchError(
            f"search {identity.name!r} exists already; go on with it by --resume, or choose another name"
        ) from None


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            difference
            for key in keys
            for difference in _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path} was {_short(old)}, now {_short(new)}"]


def _short(value: Any) -> str:
    text = "missing" if value is None else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
