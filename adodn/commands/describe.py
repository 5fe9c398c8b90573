"""`adodn describe`: the layers of a recipe's network, their parameters, multiply-accumulates and memory."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adodn import recipes
from adodn.commands.train import parse_changes
from adodn.models.description import Description
from adodn.models.description import describe as describe_model


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("describe")(describe)


def describe(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(sorted(recipes.RECIPES))}.")],
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the recipe, e.g. model.backbone=resnext50_32x4d.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print what a recipe's network is made of, and what one face costs. Nothing is trained or loaded."""
    config = recipes.get(recipe).with_fields(parse_changes(change or []))
    description = describe_model(config.model)
    side = config.model.input_px
    if as_json:
        totals = {name: getattr(description, name) for name in ("parameters", "macs", "activation_bytes")}
        layers = [asdict(layer) for layer in description.layers]
        typer.echo(json.dumps({"recipe": recipe, "input": [3, side, side], "layers": layers, "totals": totals}))
    else:
        _show(description, f"{recipe}: one face of {side} px, fp32")


def _show(description: Description, caption: str) -> None:
    table = Table("layer", "kind", "output", caption=caption)
    for head in ("parameters", "10⁶ MACs", "memory KiB"):
        table.add_column(head, justify="right", no_wrap=True)
    for layer in description.layers:
        shape = "×".join(map(str, layer.output))
        table.add_row(layer.name, layer.kind, shape, *_figures(layer.parameters, layer.macs, layer.activation_bytes))
    table.add_section()
    table.add_row("total", "", "", *_figures(description.parameters, description.macs, description.activation_bytes))
    Console().print(table)


def _figures(parameters: int, macs: int, activation_bytes: int) -> tuple[str, str, str]:
    return f"{parameters:,}", f"{macs / 1e6:,.1f}", f"{activation_bytes / 1024:,.0f}"
