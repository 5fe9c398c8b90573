"""`adodn winner`: the best config of a search trained anew, tested once, registered, and what is left of its gain."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from adodn import publish, settings
from adodn.commands.train import parse_changes, trained
from adodn.config import ExperimentConfig
from adodn.data.manifest import Manifest
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import ConfigError
from adodn.evaluate import EvaluationReport
from adodn.publish import Outcome
from adodn.settings import Settings
from tune.runs import evaluated_once
from tune.winner import Gain, Winner


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("winner")(winner)


def winner(
    file: Annotated[str, typer.Argument(help="Config file of a search's best trial, or its s3:// address.")],
    dataset: Annotated[str, typer.Option(help="s3:// address of a sharded dataset's manifest or folder.")],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, with seeds that the search did not have.")] = 3,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, e.g. train.epochs=60 where trials were short.")
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults/--no-defaults", help="Train the papers' defaults likewise, to compare.")
    ] = True,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train together; never changes the result.")] = 2,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1, help="With --gpu as many threads prepare batches.")] = 1.0,
    gpu: Annotated[bool, typer.Option("--gpu", help="One GPU a worker.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Train the best config of a search from scratch, test it once, register the best by validation as challenger.

    Start it again after an interruption: what is trained and tested already is only looked up.
    """
    places = settings.get()
    best = _read(file, places)
    manifest = read_manifest(S3Store.from_settings(places), dataset)
    changes = parse_changes(change or [])

    configs = {"best": best.config} | ({"defaults": best.with_defaults()} if defaults and best.chosen.defaults else {})
    trainings = [
        (name, one)
        for name, config in configs.items()
        for one in best.retrainings(_on(manifest, config.with_fields(changes)), seeds)
    ]
    resources = {"num_workers": workers, "cpus_per_worker": cpus_per_worker, "use_gpu": gpu}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in ("best", "defaults")}
    for number, (name, one) in enumerate(trainings, start=1):
        about = f"{name}, seed {one.config.train.seed}: {one.run_name}"
        typer.echo(f"{number}/{len(trainings)}  {about}", err=True)
        outcomes[name].append(trained(one.config, [dataset], one.run_name, places, **resources))
    ours, theirs = outcomes.values()
    gain = Gain(
        chosen=best.chosen,
        retrained=tuple(outcome.val_nme for outcome in ours),
        defaults_retrained=tuple(outcome.val_nme for outcome in theirs),
        changed=tuple(changes),
    )
    # Chosen by validation, before the test split is looked at.
    first = min(ours, key=lambda outcome: outcome.val_nme)
    why = f"best of {seeds} trainings of search {best.chosen.study!r}"
    tests = [evaluated_once(one, dataset, places, put_on_record=why if one == first else None) for one in ours]
    _show(gain, tests[ours.index(first)].answer, [_nme(one.report) for one in tests], as_json)


def _read(file: str, places: Settings) -> Winner:
    """From a folder, or from the store, where a search puts it as well."""
    if not file.startswith("s3://"):
        return Winner.read(Path(file))
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "winner.json"
        S3Store.from_settings(places).download(file, copy)
        try:
            return Winner.read(copy)
        except ConfigError as error:
            raise ConfigError(f"{file}, as downloaded: {error}") from None


def _on(manifest: Manifest, config: ExperimentConfig) -> ExperimentConfig:
    return config.on_dataset(manifest.digest, manifest.landmark_protocol)


def _nme(report: EvaluationReport) -> float:
    return report.value(publish.primary_metric(report))


def _show(gain: Gain, registered: dict[str, Any], tests: list[float], as_json: bool) -> None:
    if as_json:
        answer: dict[str, Any] = {"text": gain.text(), "retrained_val_nme": gain.retrained, "test_nme": tests}
        answer |= {"defaults_retrained_val_nme": gain.defaults_retrained, "registered": registered}
        typer.echo(json.dumps(answer))
        return
    typer.echo(gain.text())
    typer.echo(f"On test: {', '.join(f'{100 * nme:.2f} %' for nme in tests)}.")
    typer.echo(f"registered {registered['model_uri']}: {registered['reason']}")
