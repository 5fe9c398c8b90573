"""Where Prefect and MLflow of the local stack keep what they know: SQLite, or a PostgreSQL that is there already.

databases = Databases.wanted(known={})            # from ADODN_PREFECT_DATABASE_URL, ADODN_MLFLOW_DATABASE_URL
with_driver(databases.mlflow, "psycopg")          # postgresql+psycopg://…
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from adodn.errors import StackError

VARIABLES = {"prefect": "ADODN_PREFECT_DATABASE_URL", "mlflow": "ADODN_MLFLOW_DATABASE_URL"}
_SCHEME = "postgresql://"


@dataclass(frozen=True, kw_only=True)
class Databases:
    """Addresses as `postgresql://USER:PASSWORD@HOST:PORT/NAME`; empty: SQLite in the stack's folder."""

    prefect: str = field(default="", repr=False)
    mlflow: str = field(default="", repr=False)

    @classmethod
    def wanted(cls, known: Mapping[str, str]) -> "Databases":
        """From the environment, else those that the stack had before; a variable that is set empty means SQLite again.

        Args:
            known: The lines of `stack.env`.

        Raises:
            StackError: an address is not PostgreSQL's.
        """
        return cls(**{name: _checked(variable, known) for name, variable in VARIABLES.items()})

    @classmethod
    def recorded(cls, known: Mapping[str, str]) -> "Databases":
        """Those of the lines of `stack.env`."""
        return cls(**{name: known.get(variable, "") for name, variable in VARIABLES.items()})

    def lines(self) -> dict[str, str]:
        """As `stack.env` keeps them."""
        return {variable: getattr(self, name) for name, variable in VARIABLES.items()}


SQLITE = Databases()


def with_driver(url: str, driver: str) -> str:
    """An address that says by which library it is reached; an empty one stays empty."""
    return url.replace(_SCHEME, f"postgresql+{driver}://", 1)


def _checked(variable: str, known: Mapping[str, str]) -> str:
    url = os.environ.get(variable, known.get(variable, ""))
    if url and not url.startswith(_SCHEME):
        scheme, found, _ = url.partition("://")  # the rest may hold a password
        got = f"one of {scheme!r}" if found else "another"
        raise StackError(
            f"{variable} must be {_SCHEME}USER:PASSWORD@HOST:PORT/NAME, got {got}; "
            "write it so, or set it empty for SQLite"
        )
    return url
