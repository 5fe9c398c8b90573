"""`adodn shard`: a raw dataset to shards on S3, with a progress bar and without Prefect."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from adodn import datasets, settings
from adodn.data.manifest import ImagePolicy, Manifest
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("shard")(shard)


def shard(
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(datasets.names())}.")],
    root: Annotated[Path | None, typer.Argument(help="Folder of the raw dataset; none for a rendered one.")] = None,
    max_px: Annotated[int, typer.Option(min=32, help="Largest side of stored images.")] = 384,
    margin: Annotated[float, typer.Option(min=1, help="Side of the stored square over that of the face box.")] = 2.0,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the dataset, e.g. num_train=500.")] = None,
    protocol: Annotated[str, typer.Option(help="Of your own data: coco, pts or table; e.g. 68 or 98.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a raw dataset to S3 as WebDataset shards."""
    config = settings.get()
    options: dict[str, int | str] = {**_values(option or []), **({"protocol": protocol} if protocol else {})}
    raw = datasets.open(dataset, root, **options)
    policy = ImagePolicy(max_px=max_px, margin=margin)
    with _bars() as bars:
        uri, manifest = shard_dataset(
            raw, S3Store.from_settings(config), config.datasets_uri, policy, progress=_Reporter(bars)
        )
    if as_json:
        typer.echo(json.dumps({"manifest": uri, "digest": manifest.digest, **asdict(manifest)}, sort_keys=True))
    else:
        _show(uri, manifest)


class _Reporter:
    """One bar for each stage."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done)


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _values(options: list[str]) -> dict[str, int | str]:
    values: dict[str, int | str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if not name.isidentifier() or not value:
            raise typer.BadParameter(f"an option is NAME=VALUE, e.g. num_train=500, got {option!r}")
        values[name] = int(value) if value.isdigit() else value
    return values


def _show(uri: str, manifest: Manifest) -> None:
    table = Table("split", "faces", "shards", "MB")
    for split, shards in manifest.splits.items():
        megabytes = sum(entry.bytes for entry in shards) / 1e6
        table.add_row(split, str(manifest.num_samples(split)), str(len(shards)), f"{megabytes:.1f}")
    Console().print(table)
    # Plain lines, which no terminal width breaks: they are copied into the next command.
    for line in (*manifest.problems, uri):
        typer.echo(line)
