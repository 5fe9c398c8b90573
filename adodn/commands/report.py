"""`adodn report`: one HTML file on a model, or on two that were measured on the same faces."""

import json
from pathlib import Path
from typing import Annotated

import typer

from adodn import publish, settings
from adodn.output_files import make_folder_of, write_file
from adodn.report import Page, compared_faces, comparison_page, model_page, render, shown_faces, usual_subset
from adodn.report.fetching import fetch
from adodn.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("report")(report)


def report(
    model: Annotated[
        str,
        typer.Argument(
            help="A folder of `adodn evaluate --out`, a run's name, models:/NAME@ALIAS, or a model's folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    against: Annotated[str, typer.Option(help="Another one: a comparison is made of the two.")] = "",
    dataset: Annotated[
        str, typer.Option(help="s3:// address of a sharded dataset: to measure a model, and to show faces.")
    ] = "",
    subset: Annotated[
        str, typer.Option(help="Whose faces are summed up and shown; default: full if declared, else all.")
    ] = "",
    normaliser: Annotated[
        str, typer.Option(help="What errors are divided by, where a model is measured; default: the usual one.")
    ] = "",
    put_on_record: Annotated[
        bool, typer.Option("--register", help="Keep the page with the MLflow run of the (first) model, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a page that needs neither network nor script: figures, curves, faces, maps, statistics in words."""
    make_folder_of(out)
    places = settings.get()
    run_id = publish.tracking_run_of(model, places) if put_on_record else ""
    page, name = _page(model, against, dataset, subset, normaliser, places)
    content = render(page).encode()
    write_file(out, content)
    run_url = _keep(run_id, name, content, places) if put_on_record else ""
    if as_json:
        typer.echo(json.dumps({"title": page.title, "lead": page.lead, "out": str(out), "run_url": run_url}))
    else:
        typer.echo(f"{page.title}\n{page.lead}\n{out} ({len(content) / 1e6:.1f} MB) {run_url}".rstrip())


def _page(model: str, against: str, dataset: str, subset: str, normaliser: str, places: Settings) -> tuple[Page, str]:
    """The page, and its name among the artifacts of a run."""
    one = fetch(model, places, dataset_uri=dataset, normaliser=normaliser)
    evaluation = one.subject.report
    subset = subset or usual_subset(evaluation)
    if not against:
        return model_page(one.with_faces(shown_faces(evaluation, subset)), subset), publish.page_name(
            evaluation, subset
        )
    other = fetch(against, places, dataset_uri=dataset, normaliser=normaliser)
    keys = compared_faces(evaluation, other.subject.report, subset)
    page = comparison_page(one.with_faces(keys), other.with_faces(keys), subset)
    return page, publish.page_name(evaluation, subset, other.subject.name)


def _keep(run_id: str, name: str, content: bytes, places: Settings) -> str:
    """Keep the page with a run; the address of the run."""
    from adodn.tracking import Tracker  # MLflow takes seconds to import

    tracker = Tracker(places.mlflow_tracking_uri)
    tracker.attach(run_id)
    tracker.log_bytes(name, content)
    return tracker.run_url
