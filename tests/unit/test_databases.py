"""Which database the local stack's Prefect and MLflow use: what is said, what is remembered, what is refused.

pytest tests/unit/test_databases.py
"""

from configparser import ConfigParser
from pathlib import Path

import pytest

from adodn.errors import StackError
from infra.config import StackConfig
from infra.databases import SQLITE, VARIABLES, with_driver
from infra.folder import StackFolder
from infra.services import SERVICES
from tests.conftest import enter_home

URL = "postgresql://me:geheim@db:5432/prefect"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    """Of a stack that never ran."""
    enter_home(monkeypatch, tmp_path)
    folder = StackFolder(tmp_path)
    folder.create()
    return folder


def test_without_a_word_it_is_sqlite(folder: StackFolder) -> None:
    """Both services, each in the stack's folder."""
    config = StackConfig.wanted(folder)

    assert config.databases == SQLITE
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in SERVICES["prefect"].command(config).env
    assert SERVICES["mlflow"].command(config).env["MLFLOW_BACKEND_STORE_URI"].startswith("sqlite:///")


def test_what_was_said_once_is_remembered_until_it_is_taken_back(
    folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a later `adodn up` without the variable, and by services that are started again; the file is private."""
    monkeypatch.setenv(VARIABLES["prefect"], URL)
    StackConfig.wanted(folder).save()
    monkeypatch.delenv(VARIABLES["prefect"])

    assert StackConfig.wanted(folder).databases.prefect == URL
    assert StackConfig.recorded(folder).databases.prefect == URL
    env = SERVICES["prefect"].command(StackConfig.recorded(folder)).env
    assert env["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://me:geheim@db:5432/prefect"
    assert folder.env.stat().st_mode & 0o077 == 0

    monkeypatch.setenv(VARIABLES["prefect"], "")
    assert StackConfig.wanted(folder).databases == SQLITE


def test_the_password_is_on_no_command_line(folder: StackFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of neither service."""
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, URL)
    config = StackConfig.wanted(folder)

    for name in VARIABLES:
        command = SERVICES[name].command(config)
        assert "geheim" not in " ".join(command.argv) and "geheim" in " ".join(command.env.values())


@pytest.mark.parametrize("url", ["mysql://me:geheim@db/prefect", "postgres://me:geheim@db/x", "geheim"])
def test_another_kind_is_one_clear_error_without_the_password(
    folder: StackFolder, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """It names the variable, the form and the way out."""
    monkeypatch.setenv(VARIABLES["mlflow"], url)

    with pytest.raises(StackError, match="ADODN_MLFLOW_DATABASE_URL must be postgresql://") as caught:
        StackConfig.wanted(folder)
    assert "set it empty for SQLite" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert not folder.env.exists()


def test_the_driver_is_named_once() -> None:
    """An address within the address is left alone, and no address stays none."""
    assert with_driver("postgresql://a@b/postgresql://", "psycopg") == "postgresql+psycopg://a@b/postgresql://"
    assert with_driver("", "psycopg") == ""


def test_a_percent_sign_in_the_home_is_no_variable(tmp_path: Path) -> None:
    """MLflow reads its file on signing in with such."""
    folder = StackFolder(tmp_path / "50 % home")
    folder.create()

    read = ConfigParser()
    read.read(SERVICES["mlflow"].command(StackConfig.wanted(folder)).env["MLFLOW_AUTH_CONFIG_PATH"])

    assert read["mlflow"]["database_uri"].startswith(f"sqlite:///{folder.data}/mlflow/users-")
    folder.remove_run()  # it may lie in /tmp
