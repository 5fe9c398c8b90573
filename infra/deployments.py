"""Makes and runs the repository's Prefect deployments. Not for use inside flows.

python -m infra.deployments                  # or: deploy()
run("train-adodn/train-adodn", {"recipe": "adodn_rendered"}, on_log=print)
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.automations import Automation, EventTrigger, Posture, ResourceSpecification
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment
from prefect.events.actions import ChangeFlowRunState
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from adodn import settings
from adodn.errors import StackError
from infra.services import HEARTBEAT_S

ROOT = Path(__file__).resolve().parents[1]
_FLOW_RUN = "prefect.flow-run"
_POLL_S = 1.0
_PAGE = 200


def deploy() -> None:
    """Make all deployments of `prefect.yaml` on the stack's Prefect server; those that exist are brought up to date.

    Raises:
        StackError: If Prefect refuses; the message carries what it said.
    """
    if not (ROOT / "prefect.yaml").is_file():
        raise StackError(
            f"deployments are made from a checkout with prefect.yaml, there is none in {ROOT}; clone the repository"
        )
    command = [str(Path(sys.executable).parent / "prefect"), "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=ROOT, env=client_environment(), capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"`prefect deploy --all` failed: {(done.stderr or done.stdout).strip()[-800:]}")
    with on_the_stack():
        watch_for_the_dead()


def watch_for_the_dead(silence: timedelta = timedelta(seconds=5 * HEARTBEAT_S)) -> None:
    """Have the server mark as crashed each flow run of which it has not heard for so long.

    A flow process that is killed is reported by its worker. Only where both died at once would it stay as running for
    ever, and keep others of its deployment from their turn.

    Args:
        silence: Several heartbeats, as one may be lost.
    """
    wanted = Automation(
        name="adodn: flow runs that fell silent have crashed",
        trigger=EventTrigger(
            after={f"{_FLOW_RUN}.heartbeat"},
            expect={f"{_FLOW_RUN}.{word}" for word in ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed")},
            match=ResourceSpecification({"prefect.resource.id": [f"{_FLOW_RUN}.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,
                message=f"not heard of for {silence}: its process and its worker are gone; run it again, it goes on",
            )
        ],
    )
    with get_client(sync_client=True) as client:
        for known in client.read_automations_by_name(wanted.name):
            client.delete_automation(known.id)
    wanted.create()


def client_environment() -> dict[str, str]:
    """The environment in which Prefect's own commands reach the stack."""
    places = settings.get()
    known = {"PREFECT_API_URL": places.prefect_api_url, "DO_NOT_TRACK": "1"}
    if password := places.prefect_auth_string.get_secret_value():
        known["PREFECT_API_AUTH_STRING"] = password
    return {**os.environ, **known}


def on_the_stack() -> AbstractContextManager[Any]:
    """Inside, this process's Prefect talks to the stack, whatever it read when it was imported."""
    places = settings.get()
    password = places.prefect_auth_string.get_secret_value() or None
    return temporary_settings({PREFECT_API_URL: places.prefect_api_url, PREFECT_API_AUTH_STRING: password})


def run(deployment: str, parameters: dict[str, Any], on_log: Callable[[str], None]) -> None:
    """Run a deployment, tell of each line of its log, and wait for its end. Ctrl-C cancels the flow run.

    Raises:
        StackError: If the flow run does not complete.
    """
    with on_the_stack(), get_client(sync_client=True) as client:
        flow_run = run_deployment(deployment, parameters=parameters, timeout=0)
        assert isinstance(flow_run, FlowRun)  # Prefect types this as maybe a coroutine; outside async code it is not
        try:
            state = _follow(client, flow_run.id, on_log)
        except KeyboardInterrupt:
            client.set_flow_run_state(flow_run.id, Cancelling())
            with suppress(KeyboardInterrupt):
                on_log(f"cancelling flow run {flow_run.name} …")
                _follow(client, flow_run.id, on_log)
            raise
    if not state.is_completed():
        raise StackError(f"flow run {flow_run.name} of {deployment} ended as {state.name}: {state.message}")


def _follow(client: SyncPrefectClient, flow_run_id: UUID, on_log: Callable[[str], None]) -> Any:
    seen = 0
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    while True:
        state = client.read_flow_run(flow_run_id).state
        while page := client.read_logs(wanted, limit=_PAGE, offset=seen, sort=LogSort.TIMESTAMP_ASC):
            for line in page:
                on_log(line.message)
            seen += len(page)
        if state is not None and state.is_final():
            return state
        time.sleep(_POLL_S)


if __name__ == "__main__":
    try:
        deploy()
    except StackError as error:
        sys.exit(f"error: {error}")
