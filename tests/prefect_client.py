"""Prefect's own command on the session's stack, as users type it, and what it says of flow runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from infra import deployments

_PREFECT = str(Path(sys.executable).parent / "prefect")


def prefect(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [_PREFECT, *words], cwd=deployments.ROOT, env=deployments.client_environment(), capture_output=True, text=True
    )


def flow_run(name_or_id: str) -> dict[str, Any]:
    """All that Prefect knows of a flow run."""
    answer: dict[str, Any] = json.loads(prefect("flow-run", "inspect", name_or_id, "-o", "json").stdout)
    return answer


def run_id(output: str) -> str:
    """The id of the flow run that a command said it started."""
    return next(line.split()[-1] for line in output.splitlines() if "UUID" in line)


def artifact(key: str) -> Any:
    """The data of the newest artifact of that key."""
    with (
        deployments.on_the_stack(),
        get_client(sync_client=True) as client,
    ):
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return max(found, key=lambda one: str(one.created)).data
