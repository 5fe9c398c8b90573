"""Makes the secrets that the cluster's manifests and the compose file refer to; they are printed or written once.

python -m infra.cluster_secrets kubernetes | kubectl create -f -      # refuses where they are there already
python -m infra.cluster_secrets compose infra/compose/secrets         # a file for each service; a folder of mode 0700
"""

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adodn.errors import StackError
from infra.credentials import USER, Credentials
from infra.storage import known

NAMESPACE = "adodn"
_JOBS = {
    "ADODN_S3_ACCESS_KEY": ("s3-trainer", "ACCESS_KEY"),
    "ADODN_S3_SECRET_KEY": ("s3-trainer", "SECRET_KEY"),
    "ADODN_S3_SHARDS_ACCESS_KEY": ("s3-shards", "ACCESS_KEY"),
    "ADODN_S3_SHARDS_SECRET_KEY": ("s3-shards", "SECRET_KEY"),
    "ADODN_S3_REGISTRY_ACCESS_KEY": ("s3-registry", "ACCESS_KEY"),
    "ADODN_S3_REGISTRY_SECRET_KEY": ("s3-registry", "SECRET_KEY"),
    "ADODN_MLFLOW_USERNAME": ("mlflow-client", "USERNAME"),
    "ADODN_MLFLOW_PASSWORD": ("mlflow-client", "PASSWORD"),
    "PGPASSWORD": ("postgres", "studies_password"),
}
"""Variables of whatever runs adodn's own code, with the Secret and its key that each comes from."""
COMPOSE = {
    "postgres.env": {
        "POSTGRES_PASSWORD": ("postgres", "superuser_password"),
        "PREFECT_PASSWORD": ("postgres", "prefect_password"),
        "MLFLOW_PASSWORD": ("postgres", "mlflow_password"),
        "STUDIES_PASSWORD": ("postgres", "studies_password"),
    },
    "prefect.env": {
        "PGPASSWORD": ("postgres", "prefect_password"),
        "PREFECT_SERVER_API_AUTH_STRING": ("prefect-auth", "auth_string"),
    },
    "mlflow.env": {
        "PGPASSWORD": ("postgres", "mlflow_password"),
        "MLFLOW_AUTH_ADMIN_USERNAME": ("mlflow-client", "USERNAME"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": ("mlflow-client", "PASSWORD"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": ("mlflow-server", "flask_secret_key"),
        "AWS_ACCESS_KEY_ID": ("s3-mlflow", "ACCESS_KEY"),
        "AWS_SECRET_ACCESS_KEY": ("s3-mlflow", "SECRET_KEY"),
    },
    "ray.env": {**_JOBS, "RAY_AUTH_TOKEN": ("ray-auth", "auth_token")},
    "worker.env": {
        **_JOBS,
        "PREFECT_API_AUTH_STRING": ("prefect-auth", "auth_string"),
        "ADODN_PREFECT_AUTH_STRING": ("prefect-auth", "auth_string"),
        "ADODN_RAY_AUTH_TOKEN": ("ray-auth", "auth_token"),
    },
    "identities.json": {"": ("s3-identities", "identities.json")},
}
"""The files of compose's services, with what each variable comes from; the last is a file as it is."""

Secrets = Mapping[str, Mapping[str, str]]


def fresh() -> dict[str, dict[str, str]]:
    """New secrets: by the name of the Secret, then by its key."""
    new = Credentials.of({})
    databases = ("superuser", "prefect", "mlflow", "studies")
    return {
        "postgres": {f"{name}_password": secrets.token_hex(32) for name in databases},
        "prefect-auth": {"auth_string": new.prefect_auth_string},
        "mlflow-client": {"USERNAME": USER, "PASSWORD": new.mlflow_password},
        "mlflow-server": {"flask_secret_key": new.mlflow_session_key},
        "ray-auth": {"auth_token": new.ray_auth_token},
        "s3-identities": {"identities.json": json.dumps(known(new.s3), indent=2)},
        **{
            f"s3-{role}": {"ACCESS_KEY": pair.access_key, "SECRET_KEY": pair.secret_key}
            for role, pair in new.s3.items()
        },
    }


def as_kubernetes(made: Secrets) -> dict[str, Any]:
    """A List of Secrets, as `kubectl create -f -` takes it."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "type": "Opaque",
            "stringData": dict(values),
        }
        for name, values in made.items()
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def write_compose(made: Secrets, folder: Path) -> None:
    """Write the files that the compose file names, into a folder that only its owner can enter.

    Raises:
        StackError: the folder is there; new passwords would not fit the databases that know the old ones.
    """
    if folder.exists():
        raise StackError(f"{folder} is there already; remove it, and the compose project's volumes, to begin anew")
    folder.mkdir(mode=0o700, parents=True)
    for name, variables in COMPOSE.items():
        values = {variable: made[secret][key] for variable, (secret, key) in variables.items()}
        text = values[""] if "" in values else "".join(f"{variable}={value}\n" for variable, value in values.items())
        path = folder / name
        path.write_text(text)
        # Compose itself reads the variables; a file as it is, a container's own user, who is nobody here.
        path.chmod(0o644 if "" in values else 0o600)


def main(words: list[str]) -> None:
    """The command."""
    match words:
        case ["kubernetes"]:
            sys.stdout.write(json.dumps(as_kubernetes(fresh()), indent=2) + "\n")
        case ["compose", folder]:
            write_compose(fresh(), Path(folder))
        case _:
            sys.exit("usage: python -m infra.cluster_secrets kubernetes | compose FOLDER")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except StackError as error:
        sys.exit(f"error: {error}")
