"""Ray jobs that are being stopped: nobody begins another beside them, nobody takes them for his own.

pytest tests/unit/test_jobs_that_end.py
"""

from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.logging import disable_run_logger
from ray.job_submission import JobStatus, JobSubmissionClient

from adodn import tracking
from adodn.errors import StackError
from flows import jobs, train

RUN = str(uuid4())
NAME = jobs.job_name(RUN, "train")


class Jobs:
    """A job server that knows one job: it takes a while to end after it was told to."""

    def __init__(self, status: JobStatus, *, polls: int = 3) -> None:
        self.known: dict[str, JobStatus] = {NAME: status}
        self.polls = polls
        self.is_stopping = False
        self.submitted: list[str] = []
        self.log = "error: no such face\n"
        self.last_reads = 0
        """How often the log was read after the end of the job."""
        self.is_away = False
        """Whether requests get no answer."""
        self.broken: tuple[str, Exception] | None = None
        """A request that fails, and how."""

    def _answer(self, request: str) -> None:
        if self.broken and self.broken[0] == request:
            raise self.broken[1]

    def list_jobs(self) -> list[Any]:
        self._answer("list_jobs")
        self.pass_time()
        return [SimpleNamespace(submission_id=name, status=status) for name, status in self.known.items()]

    def stop_job(self, name: str) -> None:
        assert not self.known[name].is_terminal(), "a job that has ended is left as it is"
        self.is_stopping = True

    def get_job_status(self, name: str) -> JobStatus:
        if self.is_away:
            raise ConnectionError("no answer")
        self.pass_time()
        return self.known[name]

    def pass_time(self) -> None:
        """What is asked a second time has gone on; a job that was submitted here is soon done."""
        self.polls -= self.is_stopping
        if self.is_stopping and self.polls <= 0:
            self.known[NAME], self.is_stopping = JobStatus.STOPPED, False
        elif self.submitted:
            self.known[NAME] = JobStatus.SUCCEEDED

    def get_job_logs(self, name: str) -> str:
        self.last_reads += self.known[name].is_terminal()
        if self.last_reads > 1:
            raise RuntimeError("the node with the log is gone")
        return self.log

    def delete_job(self, name: str) -> None:
        self._answer("delete_job")
        assert self.known.pop(name).is_terminal()

    def submit_job(self, *, entrypoint: str, submission_id: str) -> None:
        self.submitted.append(entrypoint)
        self.last_reads = 0
        self.known[submission_id] = JobStatus.RUNNING


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, no Prefect, no word in its log."""
    monkeypatch.setattr(jobs, "_POLL_S", 0.0)
    monkeypatch.setattr("flows.jobs.runtime.flow_run", SimpleNamespace(id=RUN))
    monkeypatch.setattr(jobs, "_stop_orphans", lambda client: None)


def serve(monkeypatch: pytest.MonkeyPatch, server: Jobs) -> Jobs:
    """What flows take for the cluster from now on."""
    monkeypatch.setattr(jobs, "_client", lambda: cast(JobSubmissionClient, server))
    return server


def hook() -> None:
    """As Prefect calls it."""
    jobs.stop_jobs(None, SimpleNamespace(id=RUN), None)


def test_who_stops_a_job_sees_it_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only then the next one may begin: two drivers would train under one name."""
    server = serve(monkeypatch, Jobs(JobStatus.RUNNING))

    hook()

    assert server.known == {NAME: JobStatus.STOPPED}


def test_the_wait_for_an_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that never ends holds nobody up for ever."""
    monkeypatch.setattr(jobs, "_FAREWELL_S", 0.1)
    server = serve(monkeypatch, Jobs(JobStatus.RUNNING, polls=10**9))

    hook()

    assert server.known == {NAME: JobStatus.RUNNING}


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.STOPPED, JobStatus.SUCCEEDED])
def test_a_job_that_has_ended_is_not_stopped(monkeypatch: pytest.MonkeyPatch, status: JobStatus) -> None:
    """The hook of a flow that failed finds its job so, as a rule."""
    hook_server = serve(monkeypatch, Jobs(status))

    hook()

    assert hook_server.known == {NAME: status}


def test_a_retry_does_not_end_with_the_job_of_the_try_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while that is being stopped and still shows as running: the job is run anew, once."""
    server = serve(monkeypatch, Jobs(JobStatus.RUNNING))
    server.is_stopping = True

    with disable_run_logger():
        jobs.run_job("train", ["adodn", "train"])

    assert server.submitted == ["adodn train"]


def test_a_job_that_is_stopped_later_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody wanted that."""
    monkeypatch.setattr(jobs, "_FAREWELL_S", 0.0)
    server = serve(monkeypatch, Jobs(JobStatus.RUNNING))
    server.is_stopping = True

    with disable_run_logger(), pytest.raises(jobs.JobFailedError, match="STOPPED"):
        jobs.run_job("train", ["adodn", "train"])
    assert server.submitted == []


def test_a_cluster_out_of_reach_ends_the_run_on_mlflow_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow fails after a while, and says so there: nobody hears of the job again."""
    monkeypatch.setattr(jobs, "_PATIENCE_S", 0.05)
    for name in ("create_link_artifact", "create_progress_artifact"):
        monkeypatch.setattr(train, name, lambda **known: None)
    closed: list[str] = []
    monkeypatch.setattr(tracking, "close_left_running", lambda uri, run: closed.append(run))
    serve(monkeypatch, Jobs(JobStatus.RUNNING)).is_away = True

    with disable_run_logger(), pytest.raises(StackError, match="went away with job"):
        train.train("lost", ["adodn", "train"])

    assert closed == ["lost"]


@pytest.mark.parametrize("error", [ConnectionError("no answer"), RuntimeError("Request failed with status code 502")])
@pytest.mark.parametrize("request_", ["list_jobs", "delete_job"])
def test_a_job_server_that_goes_away_is_named_with_the_way_on(
    monkeypatch: pytest.MonkeyPatch, request_: str, error: Exception
) -> None:
    """Whatever it was asked: no traceback of a client, and whoever trains closes its run on MLflow."""
    serve(monkeypatch, Jobs(JobStatus.FAILED)).broken = (request_, error)

    with disable_run_logger(), pytest.raises(StackError, match=r"went away with job .*at its last checkpoint"):
        jobs.run_job("train", ["adodn", "train"])


def test_orphans_that_cannot_be_asked_for_are_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request of a flow run is about them."""
    serve(monkeypatch, Jobs(JobStatus.SUCCEEDED))

    def refuse(client: Any) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(jobs, "_stop_orphans", refuse)
    with disable_run_logger(), pytest.raises(StackError, match="went away with job"):
        jobs.run_job("train", ["adodn", "train"])


def test_the_cause_of_a_failure_is_in_the_log_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is not asked for once more: it may be gone, and the cause with it."""
    server = serve(monkeypatch, Jobs(JobStatus.RUNNING))
    server.is_stopping, server.polls = True, 2
    monkeypatch.setattr(jobs, "_FAREWELL_S", 0.0)

    with disable_run_logger(), pytest.raises(jobs.JobFailedError, match="STOPPED: no such face"):
        jobs.run_job("train", ["adodn", "train"])


def test_a_look_at_a_log_moves_the_bar_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many epochs it shows: each move asks Prefect, which may be away for a minute."""
    for name in ("create_link_artifact", "create_progress_artifact"):
        monkeypatch.setattr(train, name, lambda **known: None)
    moves: list[float] = []
    monkeypatch.setattr(train, "update_progress_artifact", lambda bar, progress: moves.append(progress))
    server = serve(monkeypatch, Jobs(JobStatus.RUNNING))
    server.log = "".join(f"epoch {epoch}/100  loss 0.1\n" for epoch in range(1, 91))
    looks = iter([False, True])
    monkeypatch.setattr(server, "get_job_status", lambda name: end(server, next(looks)))

    with disable_run_logger():
        train.train("long", ["adodn", "train"])

    assert moves == [90.0, 100.0]


def end(server: Jobs, is_over: bool) -> JobStatus:
    """The second look finds the job done."""
    server.known[NAME] = JobStatus.SUCCEEDED if is_over else JobStatus.RUNNING
    return server.known[NAME]
