"""`adodn shard`: a raw dataset to shards on S3, with a progress bar and without Prefect."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from adodn import datasets, settings
from adodn.data.exclusions import read_exclusions
from adodn.data.manifest import ImagePolicy, Manifest
from adodn.data.plan import plan
from adodn.data.preview import Preview, preview
from adodn.data.quarantine import BadBudget
from adodn.data.shards import publish
from adodn.data.store import S3Store
from adodn.samples import Dataset

DatasetName: TypeAlias = Annotated[str, typer.Argument(help=f"One of: {', '.join(datasets.names())}.")]
Root: TypeAlias = Annotated[Path | None, typer.Argument(help="Folder of the raw dataset; none for a rendered one.")]
Options: TypeAlias = Annotated[
    list[str] | None, typer.Option("--option", help="NAME=VALUE for the dataset, e.g. num_train=500.")
]
ProtocolName: TypeAlias = Annotated[str, typer.Option(help="Of your own data: coco, pts or table; e.g. 68 or 98.")]

_NAMED = 10


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("shard")(shard)


def shard(
    dataset: DatasetName,
    root: Root = None,
    max_px: Annotated[int, typer.Option(min=32, help="Largest side of stored images.")] = 384,
    margin: Annotated[float, typer.Option(min=1, help="Side of the stored square over that of the face box.")] = 2.0,
    option: Options = None,
    protocol: ProtocolName = "",
    exclude: Annotated[
        Path | None, typer.Option(help="CSV of faces to leave out, key and reason, as `adodn validate` writes it.")
    ] = None,
    max_bad: Annotated[
        str, typer.Option(help="How many faces that cannot be stored may be left out: a number, or like 0.5%.")
    ] = "0",
    threads: Annotated[int, typer.Option(min=1, help="Faces read, and shards made, at a time.")] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a raw dataset to S3 as WebDataset shards."""
    config, store = settings.get(), S3Store.from_settings(settings.get(), "shards")
    excluded, budget = read_exclusions(exclude) if exclude else {}, BadBudget.parse(max_bad)
    raw = open_raw(dataset, root, option, protocol)
    policy = ImagePolicy(max_px=max_px, margin=margin)
    if not dry_run:
        store.check(config.datasets_uri)
    with progress_bars() as bars:
        shown = Reporter(bars)
        shard_plan = plan(raw, policy, exclude=excluded, max_bad=budget, threads=threads, progress=shown)
        if not dry_run:
            uri, manifest = publish(raw, store, config.datasets_uri, shard_plan, threads=threads, progress=shown)
    if dry_run:
        _show_preview(preview(store, config.datasets_uri, shard_plan), as_json)
    else:
        _show(uri, manifest, as_json)


def open_raw(dataset: str, root: Path | None, option: list[str] | None, protocol: str) -> Dataset:
    """The raw dataset that the arguments name.

    Raises:
        BadParameter: If an option is not NAME=VALUE.
        AdodnError: If the dataset cannot be opened.
    """
    options: dict[str, int | str] = {**_values(option or []), **({"protocol": protocol} if protocol else {})}
    return datasets.open(dataset, root, **options)


class Reporter:
    """Progress as one bar for each stage."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the bar of a stage; make it first, if need be."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done)


def progress_bars() -> Progress:
    """Bars on stderr, so that stdout is what the command answers."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _values(options: list[str]) -> dict[str, int | str]:
    values: dict[str, int | str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if not name.isidentifier() or not value:
            raise typer.BadParameter(f"an option is NAME=VALUE, e.g. num_train=500, got {option!r}")
        # A protocol is called by a word, also where that is "29".
        values[name] = int(value) if value.isdigit() and name != "protocol" else value
    return values


def _show(uri: str, manifest: Manifest, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"manifest": uri, "digest": manifest.digest, **asdict(manifest)}, sort_keys=True))
        return
    table = Table("split", "faces", "shards", "MB")
    for split, shards in manifest.splits.items():
        megabytes = sum(entry.bytes for entry in shards) / 1e6
        table.add_row(split, str(manifest.num_samples(split)), str(len(shards)), f"{megabytes:.1f}")
    Console().print(table)
    _echo([*manifest.problems, *_left_out(manifest.excluded, manifest.quarantined), uri])


def _show_preview(shown: Preview, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"dry_run": True, **asdict(shown)}, sort_keys=True))
        return
    table = Table("split", "faces", "shards", "MB, about", "in the store")
    for split, part in shown.splits.items():
        there = "unknown" if shown.store_problem else str(len(part.in_store))
        table.add_row(split, str(part.faces), str(part.shards), f"{part.megabytes:.1f}", there)
    Console().print(table)
    state = "is published already" if shown.published else "is not published"
    _echo(
        [
            shown.split_rule,
            *(f"subset {name}: {faces} faces" for name, faces in shown.subsets.items()),
            *shown.problems,
            *_left_out(shown.excluded, shown.quarantined),
            f"the store could not be asked: {shown.store_problem}" if shown.store_problem else f"this version {state}",
            f"nothing was written; without --dry-run: {shown.manifest}",
        ]
    )


def _left_out(excluded: Mapping[str, str], quarantined: Mapping[str, str]) -> list[str]:
    """How many faces are left out, and of those that nobody asked for which, and why."""
    lines = [f"{len(excluded)} faces left out as asked"] if excluded else []
    if quarantined:
        lines.append(f"{len(quarantined)} faces cannot be stored and were left out; the manifest names them all:")
        lines += [f"  {key}: {reason}" for key, reason in list(quarantined.items())[:_NAMED]]
    return lines


def _echo(lines: Iterable[str]) -> None:
    """Plain lines, which no terminal width breaks: they are copied into the next command."""
    for line in lines:
        typer.echo(line)
