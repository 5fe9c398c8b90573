"""What the local stack tells its services for the sake of flow runs, cluster and containers tell theirs as well.

pytest tests/unit/test_same_settings.py
"""

from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_AUTH_STRING

from adodn import settings
from adodn.settings import Settings
from infra import cluster_secrets, deployments
from infra.config import StackConfig
from infra.deployments import ROOT
from infra.folder import StackFolder
from infra.services import SERVICES
from tests.manifests import COMPOSE_FILE, pod, variables

MADE = cluster_secrets.fresh()
PASSWORD = ("prefect-auth", "auth_string")


def of_the_stack(home: Path, service: str) -> dict[str, str]:
    folder = StackFolder(home)
    folder.create()
    return SERVICES[service].command(StackConfig.wanted(folder)).env


def of_a_pod(name: str) -> dict[str, str | tuple[str, str]]:
    return variables(pod(name).containers()[0], MADE)


def of_compose(service: str) -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(COMPOSE_FILE.read_text())["services"][service]["environment"]
    return found


def test_flow_runs_say_everywhere_that_they_are_alive(tmp_path: Path) -> None:
    """As often as the automation for silent ones takes for granted."""
    name = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"

    assert of_the_stack(tmp_path, "worker")[name] == of_a_pod("prefect-worker")[name] == of_compose("worker")[name]


@pytest.mark.parametrize("head", ["adodn.headGroupSpec", "search.rayClusterSpec.headGroupSpec"])
def test_jobs_have_everywhere_as_long_to_say_farewell(tmp_path: Path, head: str) -> None:
    """Three seconds, Ray's own, are too few to tell MLflow."""
    name = "RAY_JOB_STOP_WAIT_TIME_S"

    assert of_the_stack(tmp_path, "ray")[name] == of_a_pod(head)[name] == of_compose("ray")[name]


def test_the_worker_may_make_the_automation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of the READMEs signs in as Prefect's own commands do, and it is the same one in both."""
    given = of_a_pod("prefect-worker")
    assert given["PREFECT_API_AUTH_STRING"] == given["ADODN_PREFECT_AUTH_STRING"] == PASSWORD
    assert cluster_secrets.COMPOSE["worker.env"]["ADODN_PREFECT_AUTH_STRING"] == PASSWORD
    monkeypatch.setenv("ADODN_PREFECT_AUTH_STRING", MADE[PASSWORD[0]][PASSWORD[1]])
    monkeypatch.setattr(settings, "get", Settings)

    with deployments.on_the_stack():
        assert PREFECT_API_AUTH_STRING.value() == MADE["prefect-auth"]["auth_string"]

    for readme in ("infra/README.md", "infra/kubernetes/README.md"):
        text = (ROOT / readme).read_text()
        assert "python -m infra.deployments" in text and "deploy --all" not in text
