"""What flows ask of `adodn train`, read by that command's own parser.

pytest tests/unit/test_flow_commands.py
"""

from collections.abc import Callable
from typing import Any

import pytest
import typer.main
from prefect.exceptions import ParameterTypeError

from adodn import recipes
from adodn.cli import build
from adodn.commands import search, study, winner
from adodn.commands.train import parse_changes
from adodn.errors import ConfigError
from adodn.train.distributed import Resources
from flows.train import Workers, command, experiment, train_adodn
from flows.train_cnt import train_cnt
from tune import objective


def understood(words: list[str]) -> dict[str, Any]:
    """What the command makes of its words; nothing is run."""
    assert words[:2] == ["adodn", "train"]
    commands = typer.main.get_command(build("train")).commands  # type: ignore[attr-defined]  # the app has several
    parsed: dict[str, Any] = commands["train"].make_context("train", words[2:]).params
    return parsed


def test_the_command_says_all_that_the_flow_was_told() -> None:
    """Run, recipe, changes, datasets, workers, memory and the model to begin with arrive as they were given."""
    config = experiment("adodn_smoke", 2, {"train.seed": 5, "loss.regression": "wing"})
    crew = Workers(count=3, gpu=True, micro_batch=8, fewest=1, cpus=2.5)

    given = understood(command("r", "adodn_smoke", config, ["s3://a/1", "s3://a/2"], crew, from_model="models:/m@x"))

    assert (given["recipe"], given["run_name"], given["dataset"]) == ("adodn_smoke", "r", ["s3://a/1", "s3://a/2"])
    assert (given["workers"], given["min_workers"], given["gpu"], given["micro_batch"]) == (3, 1, True, 8)
    assert given["cpus_per_worker"] == 2.5
    assert given["from_model"] == "models:/m@x"
    assert recipes.get("adodn_smoke").with_fields(parse_changes(given["change"])) == config


def test_what_is_not_asked_for_is_left_to_the_command() -> None:
    """Without them there is no GPU, no micro-batch, no model and no change."""
    crew = Workers(count=1, gpu=False, micro_batch=None)
    given = understood(command("r", "adodn_smoke", recipes.get("adodn_smoke"), ["s3://a/1"], crew))

    assert (given["gpu"], given["micro_batch"], given["min_workers"], given["from_model"]) == (False, None, None, "")
    assert given["cpus_per_worker"] == 1
    assert not given["change"]


def test_a_training_of_a_flow_waits_and_saves_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/checkpoints.md says of the command holds for the flow."""

    class Begun(Exception):
        pass

    def begin(run: str, words: list[str]) -> None:
        raise Begun(words)

    monkeypatch.setattr("flows.train.train", begin)
    asked: dict[str, Any] = {"checkpoint_steps": 100, "wait_minutes": 30.5, "hang_timeout": 900.0}

    with pytest.raises(Begun) as begun:
        train_adodn.fn(dataset_uri="s3://adodn/datasets/a/1", run_name="r", **asked)

    assert {name: understood(*begun.value.args)[name] for name in asked} == asked


@pytest.mark.parametrize("name", ["checkpoint_steps", "wait_minutes", "hang_timeout"])
def test_the_flow_takes_what_the_command_takes(name: str) -> None:
    """By the same names and with the same defaults; no time without end, and none of nothing."""
    asked = understood(["adodn", "train", "--dataset", "s3://a/1"])
    kept = train_adodn.parameters.properties[name]

    assert kept.get("default") == asked[name]
    assert train_adodn.validate_parameters({name: 7})[name] == 7
    for value in (-1, "soon", "inf", "nan"):
        with pytest.raises(ParameterTypeError, match=name):
            train_adodn.validate_parameters({name: value})


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (search.register, ["search", "--name", "s", "--dataset", "s3://a/1", "--trials", "2"]),
        (study.register, ["study", "ablation", "--dataset", "s3://a/1"]),
        (winner.register, ["winner", "s3://a/best.json", "--dataset", "s3://a/1"]),
    ],
)
def test_each_command_that_trains_takes_the_crew(register: Callable[[typer.Typer], None], words: list[str]) -> None:
    """As the flows give it: a GPU that one thread feeds would wait."""
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    crew = Workers(count=3, gpu=True, micro_batch=None, cpus=8)

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    given = commands[words[0]].make_context(words[0], [*words[1:], *crew.words()]).params

    assert (given["workers"], given["cpus_per_worker"], given["gpu"]) == (3, 8, True)


@pytest.mark.parametrize(("gpu", "threads"), [(True, 16), (False, 1)])
def test_a_trial_loads_with_its_processors_where_a_gpu_computes(
    gpu: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a training of Ray's workers does."""
    job = objective.Job(
        config=recipes.get("adodn_smoke").to_json(),
        fields={},
        dataset_uris=("s3://a/1",),
        run_name="s-0001",
        search_run_id="",
        tags={},
        resources=Resources(num_workers=1, use_gpu=gpu, cpus_per_worker=16),
    )
    told: dict[str, Any] = {}
    monkeypatch.setattr("tune.objective.publish.claim_run", lambda *given: None)
    monkeypatch.setattr("tune.objective.alone.train", lambda *given, **named: told.update(named))

    objective._train(job)

    assert (told["threads"], told["loader_threads"]) == (16, threads)


@pytest.mark.parametrize(("flow", "recipe"), [(train_adodn, "adodn_smoke"), (train_cnt, "cnt_smoke")])
def test_a_micro_batch_that_would_change_the_result_is_refused_before_any_work(
    flow: Callable[..., Any], recipe: str
) -> None:
    """Both flows answer at once, without a stack."""
    with pytest.raises(ConfigError, match=r"micro-batch must be a multiple of .* 4, got 3"):
        flow.fn(recipe=recipe, workers=1, micro_batch=3)  # type: ignore[attr-defined]
