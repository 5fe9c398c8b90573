"""Teaches Prefect two things, through its plugin system: where the local stack is, and what a bare name means.

Stock Prefect splits a deployment's name at `/` and fails on a bare one. With this plugin `prefect deployment run
train-adodn` runs the one deployment that bears the name; if several do, it says so. Plugins are switched on by
`[tool.prefect.plugins]` in the repository's pyproject.toml, or by `PREFECT_PLUGINS_ENABLED=1` elsewhere.
"""

import os
import sys
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.plugins import HookContext, SetupResult, register_hook

from adodn import settings

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Point Prefect at the local stack unless it points elsewhere, and let deployments go by bare names."""
    _accept_bare_names()
    if not settings.stack_env_path().is_file() or ctx.api_url not in (None, settings.get().prefect_api_url):
        return None
    _sign_in()
    return SetupResult(env={"PREFECT_API_URL": settings.get().prefect_api_url, "DO_NOT_TRACK": "1"})


def _sign_in() -> None:
    """Hand the password over past `SetupResult`, whose values `prefect plugins diagnose` would show."""
    if password := settings.get().prefect_auth_string.get_secret_value():
        os.environ["PREFECT_API_AUTH_STRING"] = password


async def full_name(client: PrefectClient, name: str) -> str:
    """`flow/deployment` for a deployment's bare name; a full name comes back as it is.

    Raises:
        ValueError: If no deployment, or more than one, bears the name.
    """
    if "/" in name:
        return name
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    found = await client.read_deployments(deployment_filter=wanted)
    names = sorted([f"{(await client.read_flow(deployment.flow_id)).name}/{name}" for deployment in found])
    if len(names) == 1:
        return names[0]
    if names:
        raise ValueError(f"deployment name {name!r} is not clear: {', '.join(names)} bear it; give one of these")
    raise ValueError(
        f"no deployment is named {name!r}; `prefect deployment ls` lists them, `python -m infra.deployments` makes them"
    )


def _accept_bare_names() -> None:
    from prefect.client.orchestration._deployments.client import DeploymentAsyncClient

    stock = DeploymentAsyncClient.read_deployment_by_name

    async def read_deployment_by_name(self: Any, name: str) -> Any:
        try:
            return await stock(self, await full_name(self, name))
        except ValueError as error:
            if Path(sys.argv[0]).name != "prefect":
                raise
            # In Prefect's own command line an error would print a traceback; a person wants the sentence.
            from prefect.cli._utilities import exit_with_error

            exit_with_error(str(error))

    DeploymentAsyncClient.read_deployment_by_name = read_deployment_by_name  # type: ignore[method-assign]
