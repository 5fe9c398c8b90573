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
from adodn.evaluate.running import Showing
from adodn.output_files import make_folder, write_files
from adodn.protocols.toml_file import load as load_protocol

Normaliser = Annotated[
    str, typer.Option(help="What errors are divided by, e.g. pupils or box_size; default: the protocol's usual one.")
]
CropScale = Annotated[
    float | None, typer.Option(help="Side of the crop, in larger sides of the box; default: as it was trained.")
]
BoxJitter = Annotated[
    bool, typer.Option("--box-jitter", help="Measure too how NME changes with boxes moved and scaled.")
]
Maps = Annotated[
    list[Path] | None, typer.Option(help="A protocol's .toml file with maps from or to others; more than once.")
]


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
    normaliser: Normaliser = "",
    box_jitter: BoxJitter = False,
    mask_seed: Annotated[
        int | None, typer.Option(min=0, help="Put drawn masks on all faces; the number says which.")
    ] = None,
    crop_scale: CropScale = None,
    maps: Maps = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report, errors of each face, and pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on the test split of a dataset, without fine-tuning.

    A dataset of another protocol is measured in the most points that both have through maps; the maps, and how many
    points they only guess, end the name of every result. Masks and another crop do likewise.
    """
    places = settings.get()
    if put_on_record and Path(model).is_dir():
        raise ConfigError(f"--register takes the name of a run or models:/…, got the folder {model!r}")
    make_folder(out)
    network, config = publish.load(model, places)
    asked = showing(normaliser, crop_scale, box_jitter, maps, mask_seed)
    measured = publish.measure(network, config, dataset, places, showing=asked)
    if put_on_record and measured.report.qualifier and not publish.is_on_record(model):
        raise ConfigError(
            f"--register puts the run {model!r} on record by faces of its own protocol as they are, got {dataset!r} "
            f"{measured.report.qualifier}; register it by those first, then measure models:/… like this"
        )
    if out:
        write_files(out, measured.files())
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


def showing(
    normaliser: str, crop_scale: float | None, box_jitter: bool, maps: list[Path] | None, mask_seed: int | None = None
) -> Showing:
    """What the options ask for."""
    return Showing(
        normaliser=normaliser,
        mask_seed=mask_seed,
        crop_scale=crop_scale,
        box_jitter=box_jitter,
        own_maps=tuple(known for path in maps or () for known in load_protocol(path).maps),
    )


def results_table(rows: Iterable[tuple[str, str, str]], caption: str | None = None) -> Table:
    """Rows of name, value and number of faces as people read them."""
    table = Table(caption=caption)
    for column in ("result", "value", "faces"):
        table.add_column(column, justify="left" if column == "result" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def jitter_table(report: EvaluationReport) -> Table:
    """How the NME changes with the boxes."""
    confidence = f"{100 * report.box_jitter[0].confidence:.0f} % interval"
    usual = report.name(ALL, f"nme@{report.normaliser}")
    table = Table(
        "boxes", "NME", "difference, points", confidence, caption=f"against {usual} with the boxes as they are"
    )
    for row in report.box_jitter:
        table.add_row(*row.row())
    return table


def _show(report: EvaluationReport, answer: dict[str, object]) -> None:
    console = Console()
    # Parts, visible and covered landmarks and other normalisers, of all faces; single landmarks are in the files.
    lacking = "; ".join(sorted(set(report.left_out.values())))
    console.print(results_table(report.detail_rows(ALL), f"left out: {lacking}" if lacking else "nothing was left out"))
    if report.box_jitter:
        console.print(jitter_table(report))
    console.print(results_table(report.rows(), f"dataset {report.dataset_digest[:12]}, {report.protocol} landmarks"))
    if "model_uri" in answer:
        typer.echo(f"registered {answer['model_uri']}: {answer['reason']}")
