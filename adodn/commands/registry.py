"""`adodn promote | rollback | export`: models of the registry at the command line; `adodn.registry` does the work."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adodn import settings
from adodn.export import export as write_folder

Name = Annotated[str, typer.Option("--model", help="Registered model.")]
Why = Annotated[str, typer.Option(help="What the audit shall say.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (promote, rollback, export):
        app.command(rich_help_panel="Registry")(command)


def promote(
    metric: Annotated[str, typer.Option(help="What decides, e.g. '300w/all nme@outer_eye_corners'; less is better.")],
    why: Why,
    model: Name = "adodn-68",
    as_json: AsJson = False,
) -> None:
    """Make the challenger champion, if it is better on the same data, or if there is no champion."""
    # MLflow takes seconds to import: only those who need it wait.
    from adodn import registry

    decision = registry.promote_if_better(model, metric, why=why)
    moved = "promoted" if decision.moved else "not promoted"
    typer.echo(json.dumps(asdict(decision)) if as_json else f"{moved}: {decision.reason}")


def rollback(why: Why, model: Name = "adodn-68", as_json: AsJson = False) -> None:
    """Give the champion's place back to the model that had it before."""
    from adodn import registry

    champion = registry.rollback(model, why=why)
    typer.echo(json.dumps(asdict(champion)) if as_json else f"{champion.uri} is champion again")


def export(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, a run's name, or a folder.")],
    folder: Annotated[Path, typer.Argument(help="New folder for weights.safetensors, config.json and origin.json.")],
    whole: Annotated[
        bool, typer.Option("--all", help="Also all that MLflow keeps of it, verified, below mlflow/.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as files that need no server: `Predictor.load(FOLDER)` reads them."""
    digests = write_folder(model, folder, settings.get(), whole=whole)
    typer.echo(
        json.dumps(digests) if as_json else "\n".join(f"{digest}  {folder / name}" for name, digest in digests.items())
    )
