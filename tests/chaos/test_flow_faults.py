"""Flow runs whose process, worker or server is killed in mid-run leave no job that nobody waits for, no run for ever.

pytest tests/chaos/test_flow_faults.py
"""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import psutil
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.deployments import run_deployment
from prefect.states import Scheduled
from ray.job_submission import JobSubmissionClient

from adodn import settings
from flows.jobs import job_name, run_job
from infra import deployments, processes
from infra import stack as local_stack
from infra.stack import StackInfo
from tests.chaos import waiting_flow
from tests.prefect_client import prefect as command
from tests.training_runs import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def prefect(stack: StackInfo) -> Iterator[SyncPrefectClient]:
    """A client of the stack's server, on which the flow is deployed."""
    with deployments.on_the_stack(), get_client(sync_client=True) as client:
        waiting_flow.deploy()
        yield client


@pytest.fixture(scope="module")
def ray_jobs(stack: StackInfo) -> JobSubmissionClient:
    """The stack's job server."""
    places = settings.get()
    token = places.ray_auth_token.get_secret_value()
    return JobSubmissionClient(places.ray_dashboard_url, headers={"Authorization": f"Bearer {token}"})


def begin(seconds: int) -> UUID:
    """Ask for a flow run; answers its id."""
    asked = run_deployment("waiting/waiting", parameters={"seconds": seconds}, timeout=0)
    assert isinstance(asked, FlowRun)
    return asked.id


def job_status(ray_jobs: JobSubmissionClient, run: UUID) -> str:
    """Of the flow run's job; empty before it is there."""
    known = {job.submission_id: str(job.status) for job in ray_jobs.list_jobs()}
    return known.get(job_name(str(run), "wait"), "")


def state(prefect: SyncPrefectClient, run: UUID) -> str:
    """The flow run's state as people see it."""
    found = prefect.read_flow_run(run).state
    return found.name if found and found.name else ""


def is_waiting(ray_jobs: JobSubmissionClient, run: UUID) -> bool:
    """Whether the job is counting."""
    return job_status(ray_jobs, run) == "RUNNING" and "\n1\n" in ray_jobs.get_job_logs(job_name(str(run), "wait"))


def signal_flow(stack: StackInfo, run: UUID, number: int) -> None:
    """Send a signal to the process of a flow run."""
    for process in processes.marked(stack.home, "worker"):
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run):
                process.send_signal(number)
        except psutil.Error:
            continue


def service(name: str) -> local_stack.ServiceStatus:
    """A service of the stack."""
    return next(one for one in local_stack.status() if one.name == name)


def kill_service(name: str) -> None:
    """SIGKILL; the supervisor starts it again."""
    pid = service(name).pid
    assert pid
    os.kill(pid, signal.SIGKILL)


def test_a_killed_flow_process_leaves_no_job(
    stack: StackInfo, prefect: SyncPrefectClient, ray_jobs: JobSubmissionClient
) -> None:
    """SIGKILL, and SIGTERM of the run that had waited for its turn: both crash, both jobs stop; a retry completes."""
    first = begin(20)
    wait_until(lambda: is_waiting(ray_jobs, first), "the first run's job counts")
    second = begin(600)
    wait_until(lambda: state(prefect, second) == "AwaitingConcurrencySlot", "the second run waits for the first")

    signal_flow(stack, first, signal.SIGKILL)
    wait_until(lambda: state(prefect, first) == "Crashed", "the killed run is known to have crashed")
    wait_until(lambda: job_status(ray_jobs, first) == "STOPPED", "the killed run's job is stopped")

    wait_until(lambda: is_waiting(ray_jobs, second), "the second run has its turn")
    signal_flow(stack, second, signal.SIGTERM)
    wait_until(lambda: state(prefect, second) == "Crashed", "the ended run is known to have crashed")
    wait_until(lambda: job_status(ray_jobs, second) == "STOPPED", "the ended run's job is stopped")

    prefect.set_flow_run_state(first, Scheduled(), force=True)
    wait_until(lambda: state(prefect, first) == "Completed", "the crashed run completes when it is tried again")
    assert job_status(ray_jobs, first) == "SUCCEEDED"


def test_a_run_outlives_worker_and_server(
    stack: StackInfo, prefect: SyncPrefectClient, ray_jobs: JobSubmissionClient
) -> None:
    """Both are killed while the job counts, and come back; the run and its artifacts go on."""
    run = begin(40)
    wait_until(lambda: is_waiting(ray_jobs, run), "the job counts")

    kill_service("worker")
    kill_service("prefect")

    wait_until(lambda: service("prefect").healthy and service("worker").healthy, "both services are back")
    wait_until(lambda: state(prefect, run) == "Completed", "the run completes")
    assert job_status(ray_jobs, run) == "SUCCEEDED"


@pytest.fixture
def short_silence(prefect: SyncPrefectClient) -> Iterator[Callable[[timedelta], None]]:
    """Sets for how long a run may be silent; afterwards it may be for as long as ever."""
    yield deployments.watch_for_the_dead
    deployments.watch_for_the_dead()


def test_who_died_with_his_worker_is_noticed(
    stack: StackInfo,
    prefect: SyncPrefectClient,
    ray_jobs: JobSubmissionClient,
    short_silence: Callable[[timedelta], None],
) -> None:
    """Worker and flow process are killed at once: the silent run is marked as crashed, the next one stops its job."""
    short_silence(timedelta(seconds=30))
    run = begin(600)
    wait_until(lambda: is_waiting(ray_jobs, run), "the job counts")

    kill_service("worker")
    signal_flow(stack, run, signal.SIGKILL)

    wait_until(lambda: state(prefect, run) == "Crashed", "the silent run is marked as crashed")
    assert job_status(ray_jobs, run) == "RUNNING"
    flow(name=f"next-{uuid4().hex[:8]}")(lambda: run_job("nothing", ["true"]))()
    wait_until(lambda: job_status(ray_jobs, run) == "STOPPED", "the orphan is stopped")


def test_a_pool_that_is_not_there_is_named(prefect: SyncPrefectClient) -> None:
    """Deploying for it fails, with its name, and makes no deployment."""
    before = len(prefect.read_deployments())

    done = command("--no-prompt", "deploy", "--name", "train-adodn", "--pool", "nowhere")

    assert done.returncode == 1
    assert "work pool 'nowhere' which does not exist" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr
    assert len(prefect.read_deployments()) == before
