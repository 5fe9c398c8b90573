"""A search on a real cluster: killed and resumed, with trials that fail, nothing is repeated and nothing is lost.

pytest tests/chaos/test_search.py
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from adodn import recipes, settings
from adodn.data.store import S3Store
from adodn.train.checkpoint_index import INDEX
from infra import processes
from infra.stack import StackInfo
from tests.processes import TIMEOUT_S
from tune import storage

pytestmark = pytest.mark.integration

SPACE = """
[[parameters]]
name = "lr"
fields = ["train.learning_rate"]
choices = [0.001, 0.002, 0.003, 0.004, 0.005, 1e38]

[[parameters]]
name = "batch"
fields = ["train.global_batch"]
choices = [16, 18]
"""
RECIPE = {"lr": recipes.adodn_smoke().train.learning_rate, "batch": 16}
DIVERGING, REFUSED = {"lr": 1e38, "batch": 16}, {"lr": 1e-3, "batch": 18}
"""The loss becomes infinite; the batch cannot be shared out among the batch norms."""
TRIALS = 7
"""Two that are over when the driver is killed, at most two that it interrupts, two bad ones, and one more."""
SEED = 5
"""With which the first four trials can all be trained."""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "mine.toml"
    path.write_text(SPACE)
    return path


def command(space: Path | str, *words: str, name: str = "killed") -> list[str]:
    made = [sys.executable, "-m", "adodn.cli", "search", "--smoke", "--name", name, "--trials", str(TRIALS)]
    return [
        *made,
        "--space",
        str(space),
        "--set",
        "train.epochs=2",
        "--seed",
        str(SEED),
        "--concurrent",
        "2",
        "--json",
        *words,
    ]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT_S)


def outcomes(name: str) -> dict[str, bytes]:
    """What each finished training of a search left on the store, by address."""
    store = S3Store.from_settings(settings.get())
    found = [info.uri for info in store.list(f"{settings.get().runs_uri}/{name}-")]
    return {uri: store.get(uri) for uri in found if uri.endswith("/outcome.json")}


def shards() -> dict[str, int]:
    """The machine's copies of shards, each with the time it was written."""
    files = (path for path in settings.get().cache_dir.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path): path.stat().st_mtime_ns for path in files if path.stat().st_size > 10_000}


@pytest.fixture(scope="module")
def half(stack: StackInfo, space: Path) -> tuple[dict[str, bytes], dict[str, int]]:
    """A search that was killed after its first trial, and to whose study two bad trials were added by hand."""
    process = subprocess.Popen(command(space), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("trial 1/"):
            break
    wait_for(lambda: running("killed"))
    process.kill()
    process.wait()
    assert said[-1].startswith("trial 1/"), "".join(said)[-3000:]
    study = storage.load("killed", settings.get())
    for bad in (DIVERGING, REFUSED):
        study.enqueue_trial(bad)
    return outcomes("killed"), shards()


@pytest.fixture(scope="module")
def resumed(half: object, space: Path) -> dict[str, Any]:
    """What the resumed search answers."""
    done = run(*command(space, "--resume"))
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def test_a_killed_search_comes_to_its_total(resumed: dict[str, Any]) -> None:
    """Every trial is over, as many as were asked for, the recipe is among them, and the interrupted were told FAIL.

    Whether one was interrupted is chance: a short training may end before Ray has noticed that its driver died, and
    then has its result. Both ways by themselves are in `test_study.py`.
    """
    trials = resumed["trials"]
    study = storage.load("killed", settings.get())

    assert len(trials) == TRIALS
    assert {trial["state"] for trial in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    assert trials[0]["params"] == RECIPE and trials[0]["state"] == "COMPLETE"
    assert all(study.trials[n].state.name == "FAIL" for n in resumed["interrupted"])
    assert "RUNNING" not in {trial.state.name for trial in study.trials}


def test_nothing_finished_is_trained_again(half: tuple[dict[str, bytes], Any], resumed: dict[str, Any]) -> None:
    """What trials before the kill had come to stands as it was, and each training has one name."""
    before, after = half[0], outcomes("killed")

    assert before and all(after[uri] == content for uri, content in before.items())
    names = [trial["run_name"] for trial in resumed["trials"]]
    assert len(set(names)) == len(names)


def test_bad_trials_fail_by_themselves(resumed: dict[str, Any]) -> None:
    """One diverges, the config refuses another: each says why, and others finished after them."""
    for bad, word in ((DIVERGING, "TrainingDivergedError"), (REFUSED, "batch_norm_faces")):
        trials = [trial for trial in resumed["trials"] if trial["params"] == bad]

        assert trials, f"{bad} was not tried"  # once or more: TPE may come to it, too
        assert {trial["state"] for trial in trials} == {"FAIL"}
        assert all(word in trial["error"] for trial in trials)


def test_trials_are_nested_and_none_is_left_running(resumed: dict[str, Any]) -> None:
    """MLflow has one run a training inside the search's, all of them closed, with the state of the trial."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("adodn").experiment_id
    (parent,) = client.search_runs([experiment], "attributes.run_name = 'killed'")
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")

    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in children} <= {"FINISHED", "FAILED"}
    finished = {trial["run_name"]: trial for trial in resumed["trials"] if trial["state"] == "COMPLETE"}
    tagged = {run.info.run_name: run.data.tags.get("state") for run in children}
    assert {name: tagged[name] for name in finished} == dict.fromkeys(finished, "COMPLETE")


def test_pictures_and_the_best_config_lie_with_the_search(resumed: dict[str, Any]) -> None:
    """The search's run on MLflow has the history and the best config as a file."""
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("adodn").experiment_id
    (parent,) = client.search_runs([experiment], "attributes.run_name = 'killed'")

    kept = {info.path for info in client.list_artifacts(parent.info.run_id, "search")}

    assert {"search/history.png", "search/best.json"} <= kept


def test_shards_are_fetched_once(half: tuple[Any, dict[str, int]], resumed: dict[str, Any]) -> None:
    """Later trials read the copies that the first one made: none is written anew."""
    assert half[1] and shards() == half[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "exists already; go on with it by --resume"),
        (("--resume", "--set", "train.seed=9"), "experiment.train.seed was 0, now 9"),
        (("--resume", "--space", "training"), "space.lr was"),
    ],
)
def test_another_search_is_refused(resumed: dict[str, Any], space: Path, words: tuple[str, ...], message: str) -> None:
    """A taken name, another experiment, another space: one message, no trial."""
    before = len(storage.load("killed", settings.get()).trials)
    done = run(*command(space, *words))

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert message in done.stderr
    assert len(storage.load("killed", settings.get()).trials) == before


def test_a_trial_whose_process_dies_goes_on(stack: StackInfo, space: Path) -> None:
    """SIGKILL after its first checkpoint: the trial comes to its end under its name, each epoch once on MLflow."""
    process = subprocess.Popen(
        command(space, "--trials", "1", "--set", "train.epochs=6", name="crashed"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    store, index = S3Store.from_settings(settings.get()), f"{settings.get().runs_uri}/crashed-0000/{INDEX}"
    wait_for(lambda: store.exists(index))
    (victim,) = (one for one in processes.marked(stack.home, "ray") if "ImplicitFunc" in " ".join(one.cmdline()))
    victim.kill()
    out, said = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, said[-3000:]
    (trial,) = json.loads(out.strip().splitlines()[-1])["trials"]
    assert (trial["state"], trial["epochs"]) == ("COMPLETE", 6)
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("adodn").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'crashed-0000'")
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted(metric.step for metric in history) == [1, 2, 3, 4, 5, 6]


def test_a_stopped_search_says_how_to_go_on(stack: StackInfo, space: Path) -> None:
    """SIGTERM does what Ctrl-C does, and Ctrl-C after it disturbs nothing: no trial is left running, one line says how
    to go on."""
    process = subprocess.Popen(
        command(space, name="stopped-search"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A shell has its background jobs ignore this signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: running("stopped-search"))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 130, said[-3000:]
    assert said.count("adodn search --name stopped-search --resume") == 1
    assert "Traceback" not in said
    assert not running("stopped-search")


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def running(name: str) -> bool:
    """Whether a study has a trial that is told to be running."""
    try:
        study = storage.load(name, settings.get())
    except storage.SearchError:
        return False
    return any(trial.state.name == "RUNNING" for trial in study.trials)


def test_fault_64_what_tune_keeps_holds_no_secrets(resumed: object) -> None:
    """Ray Tune pickles the store that it writes to into a file on that store; its keys must not be in it."""
    places = settings.get()
    store = S3Store.from_settings(places)
    kept = {info.uri: store.get(info.uri) for info in store.list(f"{places.runs_uri}/searches") if info.bytes}
    assert [uri for uri in kept if uri.endswith("/tuner.pkl")]
    secrets = [places.s3_secret_key, places.mlflow_password, places.ray_auth_token, places.prefect_auth_string]
    hidden = [secret.get_secret_value().rpartition(":")[2].encode() for secret in secrets]
    assert [uri for uri, content in kept.items() for secret in hidden if secret in content] == []
