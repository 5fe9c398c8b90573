"""`adodn train`: one experiment on a Ray cluster, in the foreground. Flows run this same command as a Ray job."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from adodn import models, publish, recipes, settings
from adodn.config import ExperimentConfig
from adodn.config_file import read_config_file
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.datasets.files import read_file
from adodn.errors import ConfigError
from adodn.interrupts import ended_alike, stopped_in_one_line
from adodn.models.weights import parse_weights, read_source, sha256_of
from adodn.occlusion.patterns import MAX_BYTES, Patterns
from adodn.train import initial, model_source
from adodn.train.loaders import on_data

Put = Callable[[bytes, str], str]
"""Puts a file into a folder of the store by its sha256, which is answered; of a dry run, only the answer."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("train")(train)


def train(
    dataset: Annotated[
        list[str],
        typer.Option(help="s3:// address of a sharded dataset's manifest or folder; of several, CNT's first stage."),
    ],
    recipe: Annotated[str, typer.Option(help=f"One of: {', '.join(sorted(recipes.RECIPES))}.")] = "",
    config_path: Annotated[
        Path | None, typer.Option("--config", help="File that `adodn search` wrote, instead of a recipe.")
    ] = None,
    run_name: Annotated[str, typer.Option(help="Resumes the run of that name; default: recipe and fingerprint.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes that train together; never changes the result.")] = 2,
    min_workers: Annotated[
        int | None, typer.Option(min=1, help="With as few while there is no room for all; default: all or none.")
    ] = None,
    wait_minutes: Annotated[
        float, typer.Option(min=0, help="How long to wait for a cluster that is too small, or still grows.")
    ] = 5.0,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1)] = 1.0,
    gpu: Annotated[bool, typer.Option("--gpu", help="One GPU a worker.")] = False,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the recipe, e.g. train.epochs=3.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Path or https URL of weights that the backbone starts from.")] = "",
    from_model: Annotated[
        str, typer.Option(help="Model to fine-tune: models:/NAME@ALIAS, a run, a folder of model files, or weights.")
    ] = "",
    patterns: Annotated[Path | None, typer.Option(help="File of `adodn patterns`, for the occluder `pattern`.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(min=1, help="Faces at a time in a worker, for less memory; never changes the result.")
    ] = None,
    checkpoint_steps: Annotated[int | None, typer.Option(min=1, help="Checkpoint within epochs, too.")] = None,
    hang_timeout: Annotated[float, typer.Option(min=1, help="Seconds until a silent worker is started anew.")] = 600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the experiment and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Train a recipe on a sharded dataset, or the first stage of cross-protocol training on several.

    The run is known by its name: start it again after an interruption and it goes on at its last checkpoint.
    """
    places = settings.get()
    store = S3Store.from_settings(places)
    put: Put = _digest if dry_run else partial(_upload, store)
    start = base_config(recipe, config_path).with_fields(parse_changes(change or []) | _files(weights, patterns, put))
    config = _fine_tuning(from_model, on_data(start, [read_manifest(store, uri) for uri in dataset]), put, places)
    name = run_name or config.run_name
    if dry_run:
        typer.echo(json.dumps({"run_name": name, "fingerprint": config.fingerprint(), **asdict(config)}, indent=2))
        return
    outcome = trained(
        config,
        dataset,
        name,
        places,
        num_workers=workers,
        min_workers=min_workers,
        wait_minutes=wait_minutes,
        use_gpu=gpu,
        cpus_per_worker=cpus_per_worker,
        micro_batch=micro_batch,
        checkpoint_every_steps=checkpoint_steps,
        hang_timeout_s=hang_timeout,
    )
    typer.echo(json.dumps(asdict(outcome), sort_keys=True)) if as_json else _tell(outcome)


def _digest(content: bytes, folder: str) -> str:
    return sha256_of(content)


def _upload(store: S3Store, content: bytes, folder: str) -> str:
    return initial.put_by_digest(content, store, folder)


def _files(weights: str, patterns: Path | None, put: Put) -> dict[str, object]:
    """Fields of the experiment that name files, each put where workers find it."""
    fields: dict[str, object] = {"model.initial_weights": _read_weights(weights, put)} if weights else {}
    return fields | ({"data.augment.occlusion_patterns": _read_patterns(patterns, put)} if patterns else {})


def _tell(outcome: publish.Outcome) -> None:
    typer.echo(f"{outcome.run_name}: {outcome.epochs} epochs, best validation NME {100 * outcome.val_nme:.2f} %")
    typer.echo(f"checkpoint {outcome.checkpoint_uri}")


def base_config(recipe: str, config_path: Path | None) -> ExperimentConfig:
    """The experiment of a recipe or of a file, whichever is given.

    Raises:
        ConfigError: If both or none are given, there is no such recipe, or the file is not a config.
    """
    if bool(recipe) == bool(config_path):
        raise ConfigError(f"give either --recipe or --config, got {recipe!r} and {str(config_path or '')!r}")
    return read_config_file(config_path).config if config_path else recipes.get(recipe)


def trained(
    config: ExperimentConfig, datasets: list[str], run_name: str, places: settings.Settings, **resources: Any
) -> publish.Outcome:
    """Train under a run name, or go on with it; what is finished already is only looked up.

    Args:
        config: The experiment, on its data.
        datasets: Addresses of the manifests.
        run_name: Names the run.
        places: Endpoints and credentials.
        **resources: What `distributed.Resources` takes.

    Raises:
        AdodnError: As `distributed.train`; also if the name belongs to another experiment.
        SystemExit: At Ctrl-C or SIGTERM, at whatever point, with one line.
    """
    way_on = f"run {run_name!r} goes on at its last checkpoint when the same command is given again"
    with stopped_in_one_line(way_on), ended_alike():
        if finished := publish.claim_run(config, run_name, places):
            return finished
        prepare_ray(places)
        # Ray and MLflow take seconds to import: only those who train wait.
        from adodn.train import distributed

        distributed.connect(places.ray_address or None)
        return distributed.train(
            config, datasets, run_name=run_name, resources=distributed.Resources(**resources), places=places
        )


def prepare_ray(places: settings.Settings) -> None:
    """Set what Ray reads once, when it is imported."""
    if token := places.ray_auth_token.get_secret_value():
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    if places.ray_address:  # where it cannot connect it would say so each second, for half a minute, before we do
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    if places.ray_address.startswith("127.0.0.1:"):
        # Else Ray replaces loopback by the machine's own address, where a head on loopback does not listen.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def parse_changes(changes: list[str]) -> dict[str, object]:
    """`["train.epochs=3"]` → `{"train.epochs": 3}`; values are JSON, or else plain words.

    Raises:
        ConfigError: If there is no `=`.
    """
    parsed: dict[str, object] = {}
    for change in changes:
        field, sign, value = change.partition("=")
        if not sign:
            raise ConfigError(f"a change is FIELD=VALUE, e.g. train.epochs=3, got {change!r}")
        try:
            parsed[field] = json.loads(value)
        except json.JSONDecodeError:
            parsed[field] = value
    return parsed


def _read_weights(source: str, put: Put) -> str:
    content = read_source(source)
    parse_weights(content, source)
    return put(content, settings.get().weights_uri)


def _fine_tuning(source: str, config: ExperimentConfig, put: Put, places: settings.Settings) -> ExperimentConfig:
    """Fine-tune that model: its weights go to storage once they are known to fit; says which of them do not."""
    if not source:
        return config
    content = model_source.read_whole_model(source, config.model.landmark_protocol, places)
    network = models.build(config.model)
    random = initial.load_whole_model(network, parse_weights(content, source), source)
    if random:
        typer.echo(
            f"{source}: of another protocol than {config.model.protocol!r}; {', '.join(random)} start at random",
            err=True,
        )
    return config.with_fields({"train.initial_model": put(content, places.weights_uri)})


def _read_patterns(path: Path, put: Put) -> str:
    content = read_file(path, MAX_BYTES)
    Patterns.from_json(content, str(path))
    return put(content, settings.get().patterns_uri)
