"""A flow that does what ours do, but for the work: a Ray job that waits, a bar that moves, hooks that stop the job.

deploy()                                    # then: prefect deployment run waiting/waiting
"""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.artifacts import create_progress_artifact, update_progress_artifact
from flows.jobs import run_job, stop_jobs

NAME = "waiting"


@flow(name=NAME, on_cancellation=[stop_jobs], on_crashed=[stop_jobs], on_failure=[stop_jobs])
def waiting(seconds: int = 600) -> int:
    """Wait in a Ray job; answers how long."""
    progress = create_progress_artifact(progress=0.0, key="waiting-progress", description="waiting")

    def on_lines(lines: list[str]) -> None:
        if waited := [int(line) for line in lines if line.isdigit()]:
            update_progress_artifact(progress, progress=100 * waited[-1] / seconds)

    run_job("wait", ["sh", "-c", f"for second in $(seq {seconds}); do echo $second; sleep 1; done"], on_lines)
    return seconds


def deploy() -> None:
    """Make the deployment, of which one run goes on at a time."""
    root = Path(__file__).resolve().parents[2]
    source: Any = flow.from_source(source=str(root), entrypoint=f"tests/chaos/waiting_flow.py:{NAME}")
    source.deploy(
        name=NAME,
        work_pool_name="local",
        job_variables={"stream_output": False},  # as prefect.yaml has it
        concurrency_limit=1,
        ignore_warnings=True,
        print_next_steps=False,
    )
