"""Runs a command as a Ray job and waits for it. A retry finds the job that is running already; cancelling stops it.

run_job("train", ["adodn", "train", "--recipe", "adodn_rendered", …])
"""

import re
import shlex
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from adodn import settings
from adodn.errors import AdodnError, StackError

_POLL_S = 5.0
"""Between two looks at a job; each look fetches its whole log."""
_PATIENCE_S = 300.0
"""How long Ray's job server may be away."""
_FAREWELL_S = 60.0
"""Longest wait for the end of a job that is stopped: Ray kills it after `RAY_JOB_STOP_WAIT_TIME_S`."""
_JOB = re.compile(r"adodn-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-.+")
"""As `job_name` makes it: the flow run's id, and a step."""
_COLOUR = r"\x1b\[[0-9;]*m"
_DECORATION = re.compile(rf"^(?:{_COLOUR})*\(RayTrainWorker pid=[^)]*\)(?:{_COLOUR})* |{_COLOUR}")
"""Colours, and Ray's word on which worker wrote a line."""
_CHATTER = ("Reporting training result", "Checkpoint successfully created", "Checkpoint(filesystem")
"""Ray's words on what our own line of each epoch says already."""


OnLines = Callable[[list[str]], None]


class JobFailedError(AdodnError):
    """A Ray job ended without success; the message carries the last lines of its log."""


def run_job(step: str, command: Sequence[str], on_lines: OnLines | None = None) -> None:
    """Run a command on the Ray cluster, its log streamed into the flow run's.

    The job's id comes from the flow run and the step, so a flow run that is tried again goes on with the same job.

    Args:
        step: Short name of the step, unique in the flow.
        command: Program and arguments; never passed through a shell unquoted.
        on_lines: Told of the lines that the log has more, each time that it is looked at.

    Raises:
        JobFailedError: If the job fails or is stopped.
        StackError: If the cluster cannot be reached.
    """
    client, job_id, entrypoint = _client(), job_name(str(runtime.flow_run.id), step), shlex.join(command)
    with _reaching(job_id):
        _stop_orphans(client)
        found, since = _submit(client, job_id, entrypoint), time.monotonic()
    status, log = follow(client, job_id, on_lines)
    if found and status == JobStatus.STOPPED and time.monotonic() - since < _FAREWELL_S:
        get_run_logger().info("Ray job %s was being stopped for the try before this one; it is run anew", job_id)
        with _reaching(job_id):
            _submit(client, job_id, entrypoint)
        status, log = follow(client, job_id, on_lines)
    if status != JobStatus.SUCCEEDED:
        raise JobFailedError(f"Ray job {job_id} ended as {status}: {last_lines(log)}")


def follow(client: JobSubmissionClient, job_id: str, on_lines: OnLines | None = None) -> tuple[JobStatus, str]:
    """See a job to its end, its log streamed into the flow run's; answers how it ended, and the whole log.

    Raises:
        StackError: If Ray's head went away, and did not come back with the job.
    """
    seen, heard = 0, time.monotonic()
    while True:
        try:
            status, log = client.get_job_status(job_id), client.get_job_logs(job_id)
        except (OSError, RuntimeError) as error:
            if time.monotonic() - heard > _PATIENCE_S:
                raise _away(job_id, error) from error
        else:
            seen, heard = _stream(log, seen, on_lines), time.monotonic()
            if status.is_terminal():
                return status, log
        time.sleep(_POLL_S)


@contextmanager
def _reaching(job_id: str) -> Iterator[None]:
    """Requests about a job: no answer, and one that is none, are an error that says the way on."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise _away(job_id, error) from error


def _away(job_id: str, error: Exception) -> StackError:
    return StackError(
        f"Ray's head at {settings.get().ray_dashboard_url} went away with job {job_id}: {_brief(error)}; "
        "bring it back and run this again under its name: a training goes on at its last checkpoint"
    )


def _brief(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200)


def stop_jobs(flow: Any, flow_run: Any, state: Any) -> None:  # Prefect passes these by name
    """Hook of a flow that was cancelled, crashed or failed: stop its Ray jobs, of which nobody would take the result.

    A training goes on at its last checkpoint when the flow run is tried again.
    """
    _stop(_client(), lambda owner: owner == str(flow_run.id))


def _stop_orphans(client: JobSubmissionClient) -> None:
    """Stop jobs of flow runs that are over: whoever should have done so, flow run and Prefect worker, died at once."""
    with get_client(sync_client=True) as prefect:

        def is_over(owner: str) -> bool:
            try:
                state = prefect.read_flow_run(UUID(owner)).state
            except (ObjectNotFound, httpx.HTTPError):  # of another Prefect server, or it cannot be asked now
                return False
            return state is not None and state.is_final()

        _stop(client, is_over)


def _stop(client: JobSubmissionClient, is_meant: Callable[[str], bool]) -> None:
    """Stop the jobs that run for the flow runs meant, and see them end: whoever comes next must not find them alive."""
    owners = {name: match[1] for name in _alive(client) if (match := _JOB.fullmatch(name))}
    stopped = {name for name, owner in owners.items() if is_meant(owner)}
    for name in stopped:
        client.stop_job(name)
    until = time.monotonic() + _FAREWELL_S
    while stopped & _alive(client) and time.monotonic() < until:
        time.sleep(_POLL_S)


def _alive(client: JobSubmissionClient) -> set[str]:
    """The submitted jobs that have not ended."""
    return {job.submission_id for job in client.list_jobs() if job.submission_id and not job.status.is_terminal()}


def job_name(flow_run_id: str, step: str) -> str:
    """The submission id of a flow run's step."""
    return f"adodn-{flow_run_id}-{step}"


def last_lines(log: str, count: int = 12) -> str:
    """The end of a log: the error of our own if there is one, else the last lines."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else "\n".join(lines[-count:])


def _client() -> JobSubmissionClient:
    places = settings.get()
    token = places.ray_auth_token.get_secret_value()
    # As a header, because Ray reads its own variables once, when it is imported.
    headers = {"Authorization": f"Bearer {token}"} if token else None
    try:
        return JobSubmissionClient(places.ray_dashboard_url, headers=headers)
    except AuthenticationError as error:
        raise StackError(
            f"the Ray job server at {places.ray_dashboard_url} refuses the token; set ADODN_RAY_AUTH_TOKEN to its own"
        ) from error
    except (ConnectionError, RuntimeError) as error:
        raise StackError(f"no Ray job server at {places.ray_dashboard_url}: {error}; run: adodn up") from error


def _submit(client: JobSubmissionClient, job_id: str, entrypoint: str) -> bool:
    """Begin a job, unless it is there and has not failed; answers whether it was there."""
    known = {job.submission_id: job.status for job in client.list_jobs()}
    if job_id in known:
        if not known[job_id].is_terminal() or known[job_id] == JobStatus.SUCCEEDED:
            get_run_logger().info("going on with Ray job %s", job_id)
            return True
        client.delete_job(job_id)
    try:
        client.submit_job(entrypoint=entrypoint, submission_id=job_id)
    except RuntimeError as error:
        if "already exists" not in str(error):
            raise StackError(
                f"Ray at {settings.get().ray_dashboard_url} does not take job {job_id}: {error}"
            ) from error
        get_run_logger().info("going on with Ray job %s, which another try began meanwhile", job_id)
        return True
    get_run_logger().info("Ray job %s: %s", job_id, entrypoint)
    return False


def _stream(log: str, seen: int, on_lines: OnLines | None) -> int:
    """Log the whole lines beyond `seen` characters; answers how far it came."""
    end = log.rfind("\n") + 1
    lines = [_DECORATION.sub("", coloured) for coloured in log[seen:end].splitlines()]
    told = [line for line in lines if not line.startswith(_CHATTER)]
    for line in told:
        get_run_logger().info("%s", line)
    if on_lines and told:
        on_lines(told)
    return max(seen, end)
