"""`adodn compare | promote | approve | reject | rollback | audit | export`: the registry at the command line.

`adodn.registry` does the work.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adodn import settings
from adodn.export import export as write_folder

if TYPE_CHECKING:
    from adodn.registry import Comparison, Gate

Name = Annotated[str, typer.Option("--model", help="Registered model.")]
Why = Annotated[str, typer.Option(help="What the audit shall say.")]
GateFile = Annotated[
    Path | None,
    typer.Option("--gate", help="TOML file of what is asked; without it the gate that comes with adodn."),
]
Dataset = Annotated[
    str, typer.Option(help="Name of the dataset that decides, where both models were measured on several.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (compare, promote, approve, reject, rollback, audit, export):
        app.command(rich_help_panel="Registry")(command)


def compare(model: Name = "adodn-68", gate: GateFile = None, dataset: Dataset = "", as_json: AsJson = False) -> None:
    """Show the challenger beside the champion, and what the gate would say. Nothing moves.

    Both must have been measured on the same dataset, by digest; `adodn evaluate models:/NAME/VERSION --dataset …
    --register` measures a version that was not.
    """
    # MLflow takes seconds to import: only those who need it wait.
    from adodn import registry

    comparison = registry.compare(model, _gate(gate, dataset))
    if as_json:
        typer.echo(json.dumps(_plain(comparison)))
        return
    _show(comparison)


def promote(
    why: Why,
    model: Name = "adodn-68",
    gate: GateFile = None,
    dataset: Dataset = "",
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="Whoever passes waits until `adodn approve` or `adodn reject`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the challenger champion, if it passes the gate.

    The gate compares errors face by face on the same data (`adodn compare` shows it). Refused is an error, with exit
    code 1; the audit has it too. Of several promotions at once one wins, the others are told. After a crash, give the
    command again.
    """
    from adodn import registry

    decision = registry.promote(registry.compare(model, _gate(gate, dataset)), why=why, by_hand=by_hand)
    said = f"version {decision.version} of {model}: {decision.outcome}"
    shown = said if decision.entry is None else f"{said} (entry {decision.entry}): {decision.reason}"
    typer.echo(json.dumps(asdict(decision)) if as_json else shown)


def approve(why: Why, model: Name = "adodn-68", as_json: AsJson = False) -> None:
    """Make champion whoever passed the gate by `adodn promote --by-hand`; its files are checked once more."""
    from adodn import registry

    champion = registry.approve(model, why=why)
    typer.echo(json.dumps(asdict(champion)) if as_json else f"{champion.uri} is champion now")


def reject(why: Why, model: Name = "adodn-68", as_json: AsJson = False) -> None:
    """Send away whoever passed the gate by `adodn promote --by-hand`."""
    from adodn import registry

    version = registry.reject(model, why=why)
    typer.echo(json.dumps({"rejected": version}) if as_json else f"version {version} of {model} stays challenger")


def rollback(
    why: Why,
    model: Name = "adodn-68",
    to: Annotated[
        int | None, typer.Option(min=1, help="A version that was champion before; default: the one before this.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give the champion's place back to the model that had it before."""
    from adodn import registry

    champion = registry.rollback(model, why=why, to=to)
    typer.echo(json.dumps(asdict(champion)) if as_json else f"{champion.uri} is champion again")


def audit(model: Name = "adodn-68", as_json: AsJson = False) -> None:
    """Show who moved what, when and why; `--json` has what the gate saw each time."""
    from adodn import registry

    entries = registry.audit(model)
    if as_json:
        typer.echo(json.dumps({"entries": [entry.model_dump() for entry in entries]}))
        return
    table = Table("no.", "when", "who", "what", "from", "to", "why")
    for entry in entries:
        came = "" if entry.from_version is None else str(entry.from_version)
        when = entry.when[:19].replace("T", " ")
        table.add_row(str(entry.number), when, entry.who, entry.action, came, str(entry.to_version), entry.why)
    Console().print(table)


def export(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, a run's name, or a folder.")],
    folder: Annotated[Path, typer.Argument(help="New folder for weights.safetensors, config.json and origin.json.")],
    whole: Annotated[
        bool, typer.Option("--all", help="Also all that MLflow keeps of it, verified, below mlflow/.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as files that need no server: `Predictor.load(FOLDER)` reads them."""
    digests = write_folder(model, folder, settings.get(), whole=whole)
    typer.echo(
        json.dumps(digests) if as_json else "\n".join(f"{digest}  {folder / name}" for name, digest in digests.items())
    )


def _gate(file: Path | None, dataset: str) -> "Gate":
    from adodn import registry

    gate = registry.Gate.read(file) if file else registry.Gate.default()
    return gate.on(dataset)


def _plain(comparison: "Comparison") -> dict[str, Any]:
    verdict = comparison.verdict
    return {
        "model": comparison.name,
        "challenger": comparison.challenger.version,
        "champion": comparison.champion.version if comparison.champion else None,
        "passed": None if verdict is None else verdict.passed,
        "reason": None if verdict is None else verdict.reason,
        "rows": [] if verdict is None else [row.model_dump() for row in verdict.rows],
    }


def _show(comparison: "Comparison") -> None:
    challenger, champion, verdict = comparison.challenger, comparison.champion, comparison.verdict
    if verdict is None:
        typer.echo(f"{challenger.uri} is champion already; nothing challenges it")
        return
    table = Table("rule", "", "what was seen")
    for row in verdict.rows:
        table.add_row(row.rule, "yes" if row.passed else "no", row.words)
    Console().print(table)
    against = f"against champion {champion.version}" if champion else "with no champion to compare with"
    may = "may take the place" if verdict.passed else "may not take the place"
    typer.echo(f"version {challenger.version} of {comparison.name} {may}, {against}")
