"""`adodn evaluate`: a model on a sharded dataset; with `--register` its results and itself go on record."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adodn import publish, settings
from adodn.errors import ConfigError
from adodn.evaluate import ALL, EvaluationReport


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(help="A run's name, models:/NAME@ALIAS, models:/NAME/VERSION, or a folder.")],
    dataset: Annotated[str, typer.Option(help="s3:// address of a sharded dataset's manifest or folder.")],
    put_on_record: Annotated[
        bool,
        typer.Option(
            "--register",
            help="Log to the run, register the model, let it challenge the champion; with models:/… keep the "
            "evaluation with that version, for the gate.",
        ),
    ] = False,
    normaliser: Annotated[
        str,
        typer.Option(help="What errors are divided by, e.g. pupils or box_size; default: the protocol's usual one."),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the report, errors of each face, and pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on the test split of a dataset, without fine-tuning."""
    places = settings.get()
    if put_on_record and Path(model).is_dir():
        raise ConfigError(f"--register takes the name of a run or models:/…, got the folder {model!r}")
    network, config = publish.load(model, places)
    measured = publish.measure(network, config, dataset, places, normaliser=normaliser or None)
    if out:
        write_files(measured, out)
    answer: dict[str, object] = json.loads(measured.report.to_json())
    if put_on_record and publish.is_on_record(model):
        # MLflow takes seconds to import: only those who need it wait.
        from adodn import registry

        registry.add_reports(model, [measured.report])
    elif put_on_record:
        run = publish.read_outcome(model, places)
        answer |= asdict(publish.publish(measured, run.tracking_run_id, places, why=f"run {run.run_name}"))
        publish.write_evaluation(run.run_name, measured, answer, places)
    typer.echo(json.dumps(answer)) if as_json else _show(measured.report, answer)


def write_files(measured: publish.Measured, folder: Path) -> None:
    """Write figures, the error of each face, and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in measured.files().items():
        (folder / name).write_bytes(content)


def results_table(rows: Iterable[tuple[str, str, str]], caption: str | None = None) -> Table:
    """Rows of name, value and number of faces as people read them."""
    table = Table(caption=caption)
    for column in ("result", "value", "faces"):
        table.add_column(column, justify="left" if column == "result" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _show(report: EvaluationReport, answer: dict[str, object]) -> None:
    console = Console()
    # Parts, visible and covered landmarks and other normalisers, of all faces; single landmarks are in the files.
    lacking = "; ".join(sorted(set(report.left_out.values())))
    console.print(results_table(report.detail_rows(ALL), f"left out: {lacking}" if lacking else "nothing was left out"))
    console.print(results_table(report.rows(), f"dataset {report.dataset_digest[:12]}, {report.protocol} landmarks"))
    if "model_uri" in answer:
        typer.echo(f"registered {answer['model_uri']}: {answer['reason']}")
