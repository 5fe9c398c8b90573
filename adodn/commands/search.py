"""`adodn search`: hyperparameters on a Ray cluster; `tune` does the work. Flows run this same command as a Ray job."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from adodn import datasets, recipes, settings
from adodn.commands.train import parse_changes, prepare_ray
from adodn.config import ExperimentConfig
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import read_manifest, shard_dataset
from adodn.data.store import S3Store
from adodn.errors import ConfigError
from adodn.interrupts import ended_alike, stopped_in_one_line
from adodn.output_files import make_folder, write_files
from adodn.train.loaders import on_data

if TYPE_CHECKING:
    from tune.findings import Findings

SMOKE_RECIPE = "adodn_smoke"
SMOKE_FACES = {"num_train": 48, "num_val": 8, "num_common": 8, "num_challenging": 8, "size_px": 80}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,69}")
_SHOWN = 25
_REFRESH_S = 0.5
"""Between two pictures of the live table."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("search")(search)


def search(
    name: Annotated[str, typer.Option(help="Of the search; of its study, and of its run on MLflow.")],
    trials: Annotated[int, typer.Option(min=1, help="In all, those before a resumption included.")],
    recipe: Annotated[str, typer.Option(help="What trials vary; its own values are the first trial.")] = "",
    dataset: Annotated[str, typer.Option(help="s3:// address of a sharded dataset's manifest or folder.")] = "",
    space: Annotated[
        str, typer.Option(help="papers, papers_apart, training, all, or a .toml file; docs/search.md has them.")
    ] = "papers",
    objective: Annotated[
        list[str] | None, typer.Option(help="nme, parameters, or both, which gives a Pareto front. Default: nme.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the recipe, e.g. train.epochs=30.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; default: as many as the cluster holds.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train a trial together.")] = 1,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1)] = 1.0,
    gpu: Annotated[bool, typer.Option("--gpu", help="One GPU a worker.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds a trial, on rendered faces; scores mean nothing.")] = (
        False
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search of that name.")] = False,
    address: Annotated[str, typer.Option(help="host:port of a Ray cluster; default: that of the settings.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for pictures, and best.json for `adodn winner`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Search hyperparameters: train many variants of a recipe, a few at once, and learn from each what to try next.

    The first trial is the recipe itself. Optuna (TPE) chooses the others; ASHA stops early those that fall behind.
    Trials are judged on the validation split, never on test. Each is a run on MLflow, inside the search's own.

    Interrupted, by Ctrl-C or anything else? The same command with --resume goes on: no finished trial is repeated,
    and an interrupted one goes on at its last checkpoint.

    At the end its run on MLflow, and the folder of --out, have pictures and the best config as a file.

    Try it: adodn search --name first --trials 6 --smoke
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a search's name is letters, digits and _ . -, at most 70, got {name!r}")
    if not smoke and not (recipe and dataset):
        raise ConfigError("a search needs --recipe and --dataset, or --smoke, which brings both")
    make_folder(out)
    uri = dataset or _shard_smoke()
    found = _search(
        uri,
        recipes.get(recipe or SMOKE_RECIPE).with_fields(parse_changes(change or [])),
        {"name": name, "trials": trials, "concurrent": concurrent, "seed": seed},
        {"num_workers": workers, "cpus_per_worker": cpus_per_worker, "use_gpu": gpu},
        space=space,
        objectives=tuple(objective or ["nme"]),
        resume=resume,
        address=address,
        out=out,
    )
    if as_json:
        typer.echo(json.dumps(found, sort_keys=True))
    else:
        _show(found, objective or ["nme"])


def _search(
    uri: str,
    config: ExperimentConfig,
    plan: dict[str, Any],
    resources: dict[str, Any],
    *,
    space: str,
    objectives: tuple[str, ...],
    resume: bool,
    address: str,
    out: Path | None,
) -> dict[str, Any]:
    places = settings.get()
    config = on_data(config, [read_manifest(S3Store.from_settings(places), uri)])
    prepare_ray(places)
    # Ray, MLflow and Optuna take seconds to import: only those who search wait.
    from adodn.train import distributed
    from tune import report
    from tune import space as spaces
    from tune.search import Plan, search

    wanted = Plan(
        **plan,
        config=config,
        dataset_uris=(uri,),
        space=spaces.get(space),
        resources=distributed.Resources(**resources, max_failures=1),
        objectives=objectives,
    )
    distributed.connect(address or places.ray_address or None, show_workers=False)
    made: list[Findings] = []
    way_on = f"go on with the same command and --resume: adodn search --name {wanted.name} --resume …"
    with _shown(wanted.trials) as shown, stopped_in_one_line(way_on), ended_alike():
        study = search(
            wanted,
            places=places,
            resume=resume,
            changed=lambda study, is_over: shown(partial(report.trial_rows, study), is_over=is_over),
            found=made.append,
        )
    _keep(made[0], out)
    return report.answer(study, places)


def _keep(found: "Findings", out: Path | None) -> None:
    for name, why in found.left_out.items():
        typer.echo(f"left out {name}: {why}", err=True)
    if out:
        write_files(out, found.files)


def _shard_smoke() -> str:
    """Address of a few rendered faces on the store; made where they are missing."""
    places = settings.get()
    raw = datasets.open("synthetic", None, **SMOKE_FACES)
    uri, _ = shard_dataset(raw, S3Store.from_settings(places, "shards"), places.datasets_uri, ImagePolicy())
    return uri


@contextmanager
def _shown(total: int) -> Iterator["_Display"]:
    """A live table where there is a terminal; elsewhere a line for each trial that is over."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Display(total, None)
        return
    with Live(console=console, refresh_per_second=2) as live:
        yield _Display(total, live)


class _Display:
    def __init__(self, total: int, live: Live | None) -> None:
        self._total = total
        self._live = live
        self._told: set[int] = set()
        self._next = 0.0

    def __call__(self, rows_now: Callable[[], list[dict[str, Any]]], *, is_over: bool) -> None:
        """A trial has come further, or is over; rows of many trials take long, so they are made when they are shown."""
        if not is_over and (self._live is None or time.monotonic() < self._next):
            return
        self._next = time.monotonic() + _REFRESH_S
        rows = rows_now()
        over = [row for row in rows if row["state"] in ("COMPLETE", "PRUNED", "FAIL")]
        if self._live is not None:
            self._live.update(_table(rows[-_SHOWN:], f"{len(over)} of {self._total} trials are over"))
            return
        for row in over:
            if row["number"] not in self._told:
                self._told.add(row["number"])
                sys.stderr.write(f"trial {len(self._told)}/{self._total}: {_line(row)}\n")
                sys.stderr.flush()


def _line(row: dict[str, Any]) -> str:
    params = "  ".join(f"{name} {_number(value)}" for name, value in row["params"].items())
    shown = f"{_percent(row)} %" if _percent(row) else "none"
    return f"number {row['number']}  {row['state']}  nme {shown}  {params}  {row['error'] or ''}".rstrip()


def _table(rows: list[dict[str, Any]], caption: str) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row["params"]))
    errors = ["error"] if any(row["error"] for row in rows) else []
    table = Table(caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1))
    for head in ("trial", "state", "epoch", "NME, %", *names):
        table.add_column(head, no_wrap=True)
    for head in errors:
        table.add_column(head, ratio=1)
    for row in rows:
        values = (_number(row["params"].get(name, ""), 2) for name in names)
        shown = [(row["error"] or "")[:60]] if errors else []
        table.add_row(str(row["number"]), row["state"], str(row["epochs"]), _percent(row), *values, *shown)
    return table


def _percent(row: dict[str, Any]) -> str:
    """The objective, else the last epoch's error, in per cent; empty before the first."""
    value = row["values"][0] if row["values"] else row["nme"]
    return "" if value is None else f"{100 * value:.3f}"


def _number(value: object, digits: int = 3) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _show(found: dict[str, Any], objectives: Sequence[str]) -> None:
    Console().print(_table(found["trials"], f"study {found['name']!r} in {found['study']}"))
    for row in found["best"]:
        values = ", ".join(f"{name} {value:.6g}" for name, value in zip(objectives, row["values"], strict=True))
        typer.echo(f"best: trial {row['number']}, {values}: run {row['run_name']}")
