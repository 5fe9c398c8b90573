"""Ray jobs of a flow: a flow run that is tried again goes on with the job that it began.

pytest tests/integration/test_jobs.py
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import flow
from prefect.runtime import flow_run

from flows.jobs import JobFailedError, run_job
from infra import deployments

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def on_the_stack(stack: object) -> Iterator[None]:
    """Flows are told to the stack's Prefect."""
    with deployments.on_the_stack():
        yield


def test_a_retry_goes_on_with_the_running_job(tmp_path: Path) -> None:
    """The first try loses touch in the middle; the second sees the same job to its end, with the whole of its log."""
    begun = tmp_path / "begun"

    @flow(name=f"retried-{uuid4().hex[:8]}", retries=1)
    def retried() -> list[str]:
        said: list[str] = []

        def on_lines(lines: list[str]) -> None:
            said.extend(lines)
            if "begun" in lines and flow_run.run_count == 1:
                raise ConnectionError("the flow lost touch")

        run_job("work", ["sh", "-c", f"echo begun; echo once >> {begun}; sleep 12; echo ended"], on_lines)
        return said

    said = retried()

    assert [line for line in said if line in ("begun", "ended")] == ["begun", "ended"]
    assert begun.read_text() == "once\n"


def test_a_job_that_is_submitted_twice_runs_once(tmp_path: Path) -> None:
    """Two tries of one step at the same time, as where a flow run was thought dead: both see the one job to its end."""
    begun = tmp_path / "begun"

    @flow(name=f"doubled-{uuid4().hex[:8]}")
    def doubled() -> list[list[str]]:
        heard: list[list[str]] = [[], []]
        command = ["sh", "-c", f"echo once >> {begun}; sleep 3; echo ended"]
        with ThreadPoolExecutor(2) as pool:
            tries = [pool.submit(copy_context().run, run_job, "work", command, one.extend) for one in heard]
            for one in tries:
                one.result()
        return heard

    assert [heard.count("ended") for heard in doubled()] == [1, 1]
    assert begun.read_text() == "once\n"


def test_a_failed_job_fails_the_flow_with_its_last_words(tmp_path: Path) -> None:
    """The error is the job's own; tried again, a job that failed is run anew."""
    begun = tmp_path / "begun"

    @flow(name=f"failing-{uuid4().hex[:8]}", retries=1)
    def failing() -> None:
        run_job("work", ["sh", "-c", f"echo again >> {begun}; echo 'error: no such face'; exit 1"])

    with pytest.raises(JobFailedError, match="no such face"):
        failing()
    assert begun.read_text() == "again\nagain\n"


def test_fault_48_words_of_a_command_are_not_a_shells(tmp_path: Path) -> None:
    """What a parameter brings into a command reaches the program as it is, and nothing of it is run."""
    marker = tmp_path / "ran"
    words = [f"; touch {marker}", f"$(touch {marker})", f"`touch {marker}`", f"| touch {marker}", "'\"$HOME", "*"]

    @flow(name=f"quoted-{uuid4().hex[:8]}")
    def quoted() -> list[str]:
        said: list[str] = []
        run_job("work", ["printf", "%s\\n", *words], said.extend)
        return said

    said = quoted()

    assert [line for line in said if line in words] == words
    assert not marker.exists()
