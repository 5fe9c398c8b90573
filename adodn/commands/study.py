"""`adodn study`: a study of the ADODN paper, from its trainings to a table beside the paper's figures and a picture."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adodn import settings
from adodn.commands.train import base_config, parse_changes, trained
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.evaluate import ALL
from adodn.output_files import make_folder, write_files
from tune import studies
from tune.runs import evaluated_once
from tune.studies import StudyTable


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("study")(study)


def study(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(studies.STUDIES)}.")],
    dataset: Annotated[str, typer.Option(help="s3:// address of a sharded dataset's manifest or folder.")],
    recipe: Annotated[str, typer.Option(help="What is varied; it has all of ADODN's modules.")] = "adodn_300w",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the recipe, e.g. train.epochs=3.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    subset: Annotated[str, typer.Option(help="Whose test faces count, e.g. challenging.")] = ALL,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train together; never changes the result.")] = 2,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1, help="With --gpu as many threads prepare batches.")] = 1.0,
    gpu: Annotated[bool, typer.Option("--gpu", help="One GPU a worker.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the table as JSON, and its picture.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trainings and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Train and test each variant of a study with several seeds, and compare them.

    Start it again after an interruption: what is trained and tested already is only looked up.
    """
    make_folder(None if dry_run else out)
    places, wanted = settings.get(), studies.get(name)
    manifest = read_manifest(S3Store.from_settings(places), dataset)
    base = base_config(recipe, None).with_fields(parse_changes(change or []))
    trainings = wanted.trainings(base.on_dataset(manifest.digest, manifest.landmark_protocol), range(seeds))
    if dry_run:
        _list({f"{variant}, seed {seed}": one.run_name for (variant, seed), one in trainings.items()}, as_json)
        return
    evaluations = {}
    for number, (key, training) in enumerate(trainings.items(), start=1):
        typer.echo(f"{number}/{len(trainings)}  {key[0]}, seed {key[1]}: {training.run_name}", err=True)
        resources = {"num_workers": workers, "cpus_per_worker": cpus_per_worker, "use_gpu": gpu}
        outcome = trained(training.config, [dataset], training.run_name, places, **resources)
        evaluations[key] = evaluated_once(outcome, dataset, places)
    found = studies.table(wanted, evaluations, subset=subset)
    if out:
        write_files(out, files(found))
    typer.echo(json.dumps(found.to_json())) if as_json else _show(found)


def files(found: StudyTable) -> dict[str, bytes]:
    """The table as JSON and its picture."""
    # Matplotlib takes a second to import: only those who draw wait.
    from tune.study_pictures import study_figure

    table = json.dumps(found.to_json(), indent=2) + "\n"
    return {f"{found.study}.json": table.encode(), f"{found.study}.png": study_figure(found)}


def _list(runs: dict[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"dry_run": True, "runs": runs}))
        return
    for what, run_name in runs.items():
        typer.echo(f"{run_name}  {what}")


def _show(found: StudyTable) -> None:
    caption = (
        f"{found.faces} faces of subset {found.subset}, seeds {', '.join(map(str, found.seeds))}; differences to "
        f"{found.reference}, in points. The paper: {found.about}."
    )
    shown = Table(*studies.HEADS, title=f"Study {found.study}", caption=caption)
    for cells in found.cells():
        shown.add_row(*cells)
    Console().print(shown)
