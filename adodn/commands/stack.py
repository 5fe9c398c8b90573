"""`adodn up | down | status | logs`: the local stack at the command line; `infra.stack` does the work."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adodn import settings
from infra import stack
from infra.join import become_node

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (up, down, status, logs, join):
        app.command(rich_help_panel="Local stack")(command)


def up(as_json: AsJson = False) -> None:
    """Start S3, Prefect with a worker, MLflow and Ray on this machine, and wait until they are healthy.

    State lies in $ADODN_HOME (default ~/.adodn) and outlives `adodn down`. Everything listens on 127.0.0.1 only;
    ADODN_RAY_HOST names an address of this machine at which others may take part in its Ray (`adodn join`).
    A port is changed by its variable: ADODN_PORT_S3, _S3_MASTER, _S3_FILER, _S3_VOLUME, _S3_ADMIN, _PREFECT,
    _MLFLOW, _RAY_GCS, _RAY_DASHBOARD. ADODN_RAY_NUM_CPUS says how many cores Ray may hand out.
    """
    console = Console(stderr=True)
    with console.status("starting the stack …"):
        info = stack.up(progress=lambda line: console.print(line, highlight=False))
    if as_json:
        _echo_json({**asdict(info), "home": str(info.home), "ports": info.ports.model_dump()})
        return
    done = "was already up" if info.already_running else f"is up after {info.seconds:.1f} s"
    typer.echo(f"The stack {done}.")
    for name, url in (("Prefect", info.prefect_url), ("MLflow", info.mlflow_url), ("Ray", info.ray_url)):
        typer.echo(f"  {name:<8} {url}")
    typer.echo(_sign_in(info.home))


def down(as_json: AsJson = False) -> None:
    """Stop the local stack. What was stored stays, and is there again after the next `adodn up`."""
    with Console(stderr=True).status("stopping the stack …"):
        ran = stack.down()
    if as_json:
        _echo_json({"stopped": ran})
    else:
        typer.echo("The stack is down." if ran else "The stack was not up.")


def status(as_json: AsJson = False) -> None:
    """Show every service: state, process, health, memory, address. Exit code 3 if one is not healthy."""
    services = stack.status()
    if as_json:
        _echo_json([asdict(service) for service in services])
    else:
        Console().print(_table(services))
        typer.echo(_sign_in(settings.home()))
    if not all(service.healthy for service in services):
        raise typer.Exit(3)


def logs(
    service: Annotated[str, typer.Argument(help="s3, prefect, mlflow, ray, worker or supervisor.")],
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the log of a service; with --json one object a line."""
    for line in stack.logs(service, lines=lines, follow=follow):
        typer.echo(json.dumps({"service": service, "line": line}) if as_json else line)


def join(
    cpus: Annotated[
        int | None, typer.Option(min=1, help="That Ray may hand out of this machine; default: all.")
    ] = None,
) -> None:
    """Take part, until Ctrl-C, in the Ray of another machine, whose node.env is stack.env in $ADODN_HOME here.

    There: ADODN_RAY_HOST=ITS_ADDRESS adodn up. S3 and MLflow are asked where stack.env says; those of the first
    machine's loopback come here by: ssh -N -L 8333:127.0.0.1:8333 -L 5500:127.0.0.1:5500 FIRST_MACHINE
    """
    become_node(settings.get(), cpus)


def _table(services: list[stack.ServiceStatus]) -> Table:
    table = Table("service", "state", "pid", "health", "RSS MB")
    table.add_column("URL", no_wrap=True, min_width=22)
    for service in services:
        health = "healthy" if service.healthy else service.problem or ""
        pid = str(service.pid or "")
        table.add_row(service.name, service.state, pid, health, f"{service.rss_mb:.0f}", service.url or "")
    return table


def _sign_in(home: Path) -> str:
    """Where a person finds what a browser asks for; the secrets themselves are for no terminal and no log."""
    return (
        f"Browsers ask for what {home / 'stack.env'} has, which you alone can read: Prefect ADODN_PREFECT_AUTH_STRING, "
        f"MLflow ADODN_MLFLOW_USERNAME and …_PASSWORD, Ray ADODN_RAY_AUTH_TOKEN."
    )


def _echo_json(value: Any) -> None:
    typer.echo(json.dumps(value))
