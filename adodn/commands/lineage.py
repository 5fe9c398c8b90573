"""`adodn lineage`: from a prediction or a model back to the photos it comes from; `adodn.lineage` does the work."""

from typing import Annotated

import typer

from adodn import settings
from adodn.commands.shard import Reporter, progress_bars


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("lineage", rich_help_panel="Registry")(lineage)


def lineage(
    what: Annotated[
        str,
        typer.Argument(
            help="File of `predict --save`, folder of `export`, models:/NAME/VERSION, NAME@ALIAS, a run's id or name."
        ),
    ],
    source: Annotated[str, typer.Option(help="Look for a face by its key, or for a photo by its sha256.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Read no shard, only ask whether it is there; source images stay unknown.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with every shard and image.")] = False,
) -> None:
    """Print the chain back to the source images, each step checked; exit code 1 where a step does not hold."""
    if quick and source:
        raise typer.BadParameter("--source reads shards, which --quick does not; leave one of them out")
    # MLflow takes seconds to import: only those who need it wait.
    from adodn.lineage import trace

    with progress_bars() as bars:
        chain = trace(what, settings.get(), read=not quick, source=source, progress=Reporter(bars))
    typer.echo(chain.to_json() if as_json else chain.text())
    if chain.broken:
        raise typer.Exit(1)
