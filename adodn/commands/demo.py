"""`adodn demo`: the whole chain on rendered faces; `infra.demo` does the work."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from adodn.commands.evaluate import results_table
from adodn.evaluate import Result


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("demo", rich_help_panel="Local stack")(demo)


def demo(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False) -> None:
    """Train, evaluate and register ADODN on rendered faces, through the real Prefect deployment.

    Brings the stack up first and leaves it up. Takes minutes on two cores; Ctrl-C cancels the flow run.
    """
    # Prefect takes seconds to import: other commands need not wait for it.
    from infra.demo import DemoResult, demo

    console = Console(stderr=True)
    result: DemoResult = demo(progress=lambda line: console.print(line, highlight=False, markup=False))
    if as_json:
        typer.echo(json.dumps(asdict(result), default=str))
        return
    Console().print(results_table(Result(**row).row() for row in result.report["results"]))
    typer.echo(f"{result.report['model_uri']}: {result.report['reason']}")
    for path in result.pictures:
        typer.echo(f"  picture  {path}")
    for name, url in result.links.items():
        typer.echo(f"  {name:<8} {url}")
    typer.echo(f"took {result.seconds:.0f} s and at most {result.peak_memory_mb:.0f} MB of memory")
