"""`adodn validate`: looks at every face of a raw dataset before it is sharded, and says which to mend or leave out."""

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adodn.commands.shard import DatasetName, Options, ProtocolName, Reporter, Root, open_raw, progress_bars
from adodn.data.exclusions import read_exclusions, write_exclusions
from adodn.errors import DataError
from adodn.validation import Report, publish
from adodn.validation import validate as look_at_all
from adodn.validation.findings import CHECKS
from adodn.validation.publishing import check_folder


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("validate")(validate)


def validate(
    dataset: DatasetName,
    root: Root = None,
    option: Options = None,
    protocol: ProtocolName = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report.", show_default="adodn-validate-DATASET")
    ] = None,
    fix: Annotated[
        Path | None, typer.Option(help="List the faces with errors in this file, for `adodn shard --exclude`.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="With --fix: list those of this check's warnings too. Repeat for more.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check every face of a raw dataset; exit code 0 if sharding would take them all. Nothing of it is changed."""
    _check_drop(drop or [], fix)
    folder = out or Path(f"adodn-validate-{dataset}")
    raw = open_raw(dataset, root, option, protocol)
    check_folder(folder)
    kept = read_exclusions(fix) if fix and fix.exists() else {}
    with progress_bars() as bars, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of broken EXIF data, once a file, across the bar
        report = look_at_all(raw, progress=Reporter(bars))
    publish(report, raw, folder)
    excluded = {**kept, **report.exclusions(drop or [])} if fix else {}
    if fix:
        write_exclusions(fix, excluded)
    refused = report.num_refused(excluded)
    if as_json:
        answer = {**report.summary(), "report": str(folder), "excluded": sorted(excluded), "left": refused}
        typer.echo(json.dumps(answer, sort_keys=True))
    else:
        _show(report, folder, fix, excluded)
    _require_faces(report, refused, excluded, folder)


def _check_drop(drop: list[str], fix: Path | None) -> None:
    unknown = sorted(set(drop) - set(CHECKS))
    if unknown:
        raise typer.BadParameter(f"--drop takes a check, one of {', '.join(CHECKS)}; got {unknown[0]!r}")
    if drop and fix is None:
        raise typer.BadParameter("--drop goes with --fix FILE, which names the file to list faces in")


def _show(report: Report, folder: Path, fix: Path | None, excluded: dict[str, str]) -> None:
    table = Table("check", "severity", "faces", caption=f"{report.num_faces} faces, {report.num_refused()} refused")
    for check, faces in report.counts().items():
        table.add_row(check, CHECKS[check].severity, str(faces))
    Console().print(table)
    # Plain lines, which no terminal width breaks.
    for line in (*report.problems, str(folder / "report.md")):
        typer.echo(line)
    if fix:
        typer.echo(f"{len(excluded)} faces are listed; leave them out by: adodn shard … --exclude {fix}")


def _require_faces(report: Report, refused: int, excluded: dict[str, str], folder: Path) -> None:
    """What could be sharded is not empty, and nothing in it would be refused."""
    if refused:
        way = "their keys cannot be listed, so mend them" if excluded else "mend them, or list them by --fix FILE"
        raise DataError(
            f"dataset {report.dataset!r}: sharding would refuse {refused} of {report.num_faces} faces; {way}, "
            f"see {str(folder / 'report.md')!r}"
        )
    if report.num_refused() == report.num_faces:
        raise DataError(f"dataset {report.dataset!r}: no face is left, all {report.num_faces} have errors")
