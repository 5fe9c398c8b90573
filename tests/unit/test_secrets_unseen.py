"""What is printed of the stack, in a traceback or by a test that fails, holds no secret.

pytest tests/unit/test_secrets_unseen.py
"""

from infra.credentials import Credentials
from infra.databases import Databases
from infra.services import Command

URL = "postgresql://me:geheim@db:5432/prefect"


def test_credentials_are_not_in_their_repr() -> None:
    """Neither those of S3 nor of the services."""
    credentials = Credentials.of({})
    secrets = [
        *(pair.secret_key for pair in credentials.s3.values()),
        credentials.mlflow_password,
        credentials.mlflow_session_key,
        credentials.prefect_auth_string,
        credentials.ray_auth_token,
    ]

    shown = repr(credentials)

    assert not [secret for secret in secrets if secret in shown]
    assert credentials.s3["owner"].access_key in shown  # who it is may be seen


def test_passwords_of_databases_are_not_in_their_repr() -> None:
    """They stand in the addresses."""
    assert "geheim" not in repr(Databases(prefect=URL, mlflow=URL))


def test_the_environment_of_a_service_is_not_in_its_repr() -> None:
    """The command is."""
    shown = repr(Command(["mlflow"], {"PASSWORD": "geheim"}))

    assert "geheim" not in shown and "mlflow" in shown
