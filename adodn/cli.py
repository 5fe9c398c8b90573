"""The command `adodn`: joins the modules of `adodn.commands`, and turns what a user can mend into one message.

    adodn --help

A module of `adodn.commands` takes part by having `register(app)`. It holds no logic of its own.
"""

import importlib
import pkgutil
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from adodn import __version__, commands
from adodn.errors import AdodnError
from adodn.interrupts import EXIT_CODE, only_end

_HELP = """Train facial landmark detectors that keep working when faces are covered.

Begin with `adodn up`: it starts S3, Prefect, MLflow and Ray on this machine and prints their addresses.
Errors that you can mend are one message and exit code 1. Every command has `--json` for machines."""


def build(*modules: str) -> typer.Typer:
    """The app with the commands of the modules named, or of all."""
    app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
    app.callback()(_root)
    for module in modules or sorted(module.name for module in pkgutil.iter_modules(commands.__path__)):
        importlib.import_module(f"{commands.__name__}.{module}").register(app)
    return app


def main() -> None:
    """Run `adodn`; an `AdodnError` becomes one message on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × shows ?, and the command goes on
    try:
        build(*_modules_of(sys.argv[1:]))()
    except AdodnError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except SystemExit as error:
        if error.code == EXIT_CODE:
            only_end()  # Ray takes seconds to, in which another Ctrl-C would print a traceback
        raise


def _modules_of(arguments: list[str]) -> list[str]:
    """The module of the command alone where it can be told, as others take seconds to import; empty: all."""
    if set(arguments[:1]) & {"up", "down", "status", "logs", "join"}:
        return ["stack"]
    return [module.name for module in pkgutil.iter_modules(commands.__path__) if module.name in arguments[:1]]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adodn {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
