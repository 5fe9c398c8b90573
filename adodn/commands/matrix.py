"""`adodn matrix`: many models on many datasets; `adodn.matrix` does the work."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from adodn import datasets, settings
from adodn.commands.evaluate import BoxJitter, CropScale, Maps, Normaliser, showing
from adodn.commands.train import prepare_ray
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store
from adodn.evaluate import ALL
from adodn.interrupts import ended_alike, stopped_in_one_line
from adodn.matrix import Column, Given, Matrix, Prepared, prepare, run_matrix
from adodn.output_files import make_folder, write_files
from adodn.settings import Settings

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,59})=(.+)")


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("matrix")(matrix)


def matrix(
    model: Annotated[
        list[str] | None, typer.Option(help="[NAME=] a run's name, models:/…, or a folder; once for each row.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="s3:// address of a sharded dataset; once for each column.")
    ] = None,
    rendered: Annotated[
        int, typer.Option(min=0, help="A column of so many rendered challenging faces; made where they are missing.")
    ] = 0,
    masked: Annotated[
        bool, typer.Option("--masked", help="Every dataset once more, with a drawn mask on each face.")
    ] = False,
    mask_seed: Annotated[int, typer.Option(min=0, help="Which masks.")] = 0,
    subset: Annotated[str, typer.Option(help="Of the test faces, in the table; all are evaluated.")] = ALL,
    normaliser: Normaliser = "",
    crop_scale: CropScale = None,
    box_jitter: BoxJitter = False,
    maps: Maps = None,
    cpus_per_cell: Annotated[float, typer.Option(min=0.1, help="What each cell asks of the cluster.")] = 1.0,
    address: Annotated[str, typer.Option(help="host:port of a Ray cluster; default: that of the settings.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for matrix.md, .csv, .json and .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Evaluate every model on every dataset, without fine-tuning, and print a table train × test with intervals.

    Cells run on a Ray cluster, side by side. Each is kept on S3 by the digests of model, dataset and what was asked,
    so nothing is evaluated twice: interrupted, by Ctrl-C or anything else, the same command goes on. A cell that fails
    does not stop the others; the exit code is 1 then.

    Try it: adodn matrix --model first --rendered 50 --masked
    """
    make_folder(out)
    places = settings.get()
    asked = showing(normaliser, crop_scale, box_jitter, maps)
    way_on = "what is finished is kept, and the same command goes on from there"
    with stopped_in_one_line(way_on), ended_alike():
        uris = [*(dataset or []), *([_rendered(rendered, places)] if rendered else [])]
        columns = [
            Column(uri=uri, mask_seed=seed) for uri in uris for seed in ([None, mask_seed] if masked else [None])
        ]
        prepared = prepare([_given(text) for text in model or ()], columns, asked, places)
        with _shown(prepared) as told:
            found = run_matrix(
                prepared,
                places,
                start=lambda: _connect(address, places),
                told=told,
                subset=subset,
                cpus_per_cell=cpus_per_cell,
            )
    if out:
        _write(found, out)
    typer.echo(found.to_json()) if as_json else _show(found)
    for (row, column), why in found.failed.items():
        typer.echo(f"failed: {row} on {column}: {why}", err=True)
    if found.failed:
        raise typer.Exit(1)


def _given(text: str) -> Given:
    named = _NAMED.fullmatch(text)
    return Given(label=named[1], name=named[2]) if named else Given(label=text, name=text)


def _rendered(count: int, places: Settings) -> str:
    """Address of rendered challenging faces on the store."""
    faces = datasets.open("synthetic", None, num_train=0, num_val=0, num_common=0, num_challenging=count)
    return shard_dataset(faces, S3Store.from_settings(places, "shards"), places.datasets_uri, ImagePolicy())[0]


def _connect(address: str, places: Settings) -> None:
    prepare_ray(places)
    # Ray takes seconds to import: a matrix that is kept does not wait for it.
    from adodn.matrix import cluster

    cluster.connect(address or places.ray_address or None)


def _write(found: Matrix, folder: Path) -> None:
    from adodn.matrix.picture import heat_map  # matplotlib takes seconds to import

    contents = {"csv": found.to_csv().encode(), "json": found.to_json().encode(), "md": found.to_markdown().encode()}
    contents["png"] = heat_map(found)
    write_files(folder, {f"matrix.{suffix}": content for suffix, content in contents.items()})


@contextmanager
def _shown(prepared: Prepared) -> Iterator["_Display"]:
    """A live table where there is a terminal; elsewhere a line for each cell that is over."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Display(prepared, None)
        return
    with Live(console=console, refresh_per_second=2) as live:
        yield _Display(prepared, live)


class _Display:
    def __init__(self, prepared: Prepared, live: Live | None) -> None:
        self._prepared, self._live = prepared, live
        self._news: dict[tuple[str, str], str] = {}

    def __call__(self, model: str, dataset: str, news: str) -> None:
        self._news[model, dataset] = news
        if self._live is not None:
            self._live.update(self._table())
            return
        total = len(self._prepared.rows) * len(self._prepared.columns)
        sys.stderr.write(f"cell {len(self._news)}/{total}: {model} on {dataset}: {news}\n")
        sys.stderr.flush()

    def _table(self) -> Table:
        states = Counter(news.partition(":")[0] for news in self._news.values())
        table = Table("model", *self._prepared.columns, caption=", ".join(f"{n} {name}" for name, n in states.items()))
        for row in self._prepared.rows:
            cells = (self._news.get((row, column), "…").partition(":")[0] for column in self._prepared.columns)
            table.add_row(row, *cells)
        return table


def _show(found: Matrix) -> None:
    console = Console()
    table = Table("trained ↓ tested →", *found.columns, caption="\n".join(found.legend()), caption_justify="left")
    for row in found.rows:
        table.add_row(row, *(found.shown(row, column).replace("[", "\\[") for column in found.columns))
    console.print(table)
    jitter = found.jitter_rows()
    if jitter:
        names = list(dict.fromkeys(name for cells in jitter.values() for name in cells))
        table = Table(
            "model", "dataset", *names, caption="change of NME over all faces, in points, where boxes are off"
        )
        for place, cells in jitter.items():
            table.add_row(*place, *(cells.get(name, "").replace("[", "\\[") for name in names))
        console.print(table)
