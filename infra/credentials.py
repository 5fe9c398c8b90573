"""The secrets of a stack: made once, kept in `stack.env`, handed to each service by its environment.

credentials = Credentials.of(lines_of_stack_env)      # new ones where they are missing
credentials.s3["trainer"].access_key

S3 knows five identities. What each may do, `infra.storage` says.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

USER = "adodn"
"""Who signs in to Prefect and MLflow."""
OWNER = "owner"
ROLES = (OWNER, "trainer", "shards", "registry", "mlflow")
_SERVICES = {
    "mlflow_password": "ADODN_MLFLOW_PASSWORD",
    "prefect_auth_string": "ADODN_PREFECT_AUTH_STRING",
    "ray_auth_token": "ADODN_RAY_AUTH_TOKEN",
    "mlflow_session_key": "STACK_MLFLOW_SESSION_KEY",
}


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """What an S3 identity signs its requests with."""

    access_key: str
    secret_key: str = field(repr=False)

    def variables(self, role: str = "") -> dict[str, str]:
        """As a process finds them: its own pair, or the one that it uses in another role."""
        prefix = f"ADODN_S3_{role.upper()}_" if role else "ADODN_S3_"
        return {f"{prefix}ACCESS_KEY": self.access_key, f"{prefix}SECRET_KEY": self.secret_key}


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """All secrets of a stack."""

    s3: Mapping[str, KeyPair]
    """Of each role."""
    prefect_auth_string: str = field(repr=False)
    """`user:password`, as Prefect's server and clients want it."""
    mlflow_password: str = field(repr=False)
    mlflow_session_key: str = field(repr=False)
    """Signs what MLflow's own pages send to browsers."""
    ray_auth_token: str = field(repr=False)

    @staticmethod
    def of(known: Mapping[str, str]) -> "Credentials":
        """Those of `stack.env`, and new ones where it has none."""
        pairs = {}
        for role in ROLES:
            access, secret = _s3_names(role)
            pairs[role] = KeyPair(
                access_key=known.get(access) or secrets.token_hex(10),
                secret_key=known.get(secret) or secrets.token_hex(32),
            )
        others = {field: known.get(name) or secrets.token_hex(32) for field, name in _SERVICES.items()}
        others["prefect_auth_string"] = f"{USER}:{others['prefect_auth_string'].rpartition(':')[2]}"
        return Credentials(s3=pairs, **others)

    def lines(self) -> dict[str, str]:
        """As `stack.env` keeps them; `adodn.settings` reads those that begin with ADODN_, the owner's."""
        kept = {"ADODN_MLFLOW_USERNAME": USER} | {name: getattr(self, field) for field, name in _SERVICES.items()}
        for role, pair in self.s3.items():
            access, secret = _s3_names(role)
            kept |= {access: pair.access_key, secret: pair.secret_key}
        return kept

    def of_a_node(self) -> dict[str, str]:
        """What a machine is given that only trains: on S3 it is the trainer, and Prefect is none of its business."""
        return self.s3["trainer"].variables() | {
            "ADODN_MLFLOW_USERNAME": USER,
            "ADODN_MLFLOW_PASSWORD": self.mlflow_password,
            "ADODN_RAY_AUTH_TOKEN": self.ray_auth_token,
        }


def _s3_names(role: str) -> tuple[str, str]:
    prefix = "ADODN_S3" if role == OWNER else f"STACK_S3_{role.upper()}"
    return f"{prefix}_ACCESS_KEY", f"{prefix}_SECRET_KEY"
