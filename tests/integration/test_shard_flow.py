"""The flow that shards, called as a function, on the session's stack.

pytest tests/integration/test_shard_flow.py
"""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.sorting import TaskRunSort

from adodn import datasets, settings
from adodn.data.shards import MANIFEST, read_manifest
from adodn.data.store import S3Store
from infra import deployments

pytestmark = pytest.mark.integration

FACES = {"num_train": 6, "num_val": 2, "num_common": 2, "num_challenging": 2}


@pytest.fixture
def store(stack: object) -> Iterator[S3Store]:
    """The stack's store; flows are told to the stack's Prefect, and start no server of their own."""
    with deployments.on_the_stack():
        yield S3Store.from_settings(settings.get())


@pytest.fixture
def destination(stack: object) -> str:
    """A fresh folder of datasets."""
    return f"{settings.get().datasets_uri}/{uuid.uuid4().hex}"


def task_states(flow_run_id: uuid.UUID, expected: int) -> dict[str, str]:
    """Task run → name of its last state; the server hears of them a moment after the flow ends."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        for _ in range(60):
            runs = client.read_task_runs(flow_run_filter=only, limit=100, sort=TaskRunSort.NAME_ASC)
            if len(runs) == expected and all(run.state and run.state.is_final() for run in runs):
                break
            time.sleep(0.5)
    return {run.name: run.state.name for run in runs if run.state}


def test_flow_caches_by_content_and_remakes_what_was_lost(store: S3Store, destination: str) -> None:
    """The flow's second run takes every shard from the cache, except one that is gone from the store."""
    from flows.shard import shard_dataset as flow

    uri = flow(dataset="synthetic", options=FACES, destination=destination)
    lost = f"{uri.removesuffix(MANIFEST)}train-000000.tar"
    before = store.get(lost)
    store.delete(lost)
    state = flow(dataset="synthetic", options=FACES, destination=destination, return_state=True)
    assert state.result() == uri
    assert store.get(lost) == before
    states = task_states(state.state_details.flow_run_id, expected=4)
    assert {name: state for name, state in states.items() if name.startswith("write-")} == {
        "write-train-000000.tar": "Completed",
        "write-val-000000.tar": "Cached",
        "write-test-000000.tar": "Cached",
    }


def test_flow_leaves_out_and_runs_dry(store: S3Store, destination: str, tmp_path: Path) -> None:
    """A dry run of the flow writes nothing and answers the address that the real one then publishes."""
    from flows.shard import shard_dataset as flow

    exclude = tmp_path / "excluded.csv"
    key = datasets.open("synthetic", **FACES).index()[0].key
    exclude.write_text(f"key,reason\n{key},by hand\n")
    options = {"dataset": "synthetic", "options": FACES, "destination": destination, "exclude": exclude}
    address = flow(**options, dry_run=True)
    assert list(store.list(destination)) == []
    assert flow(**options) == address
    assert read_manifest(store, address).excluded == {key: "by hand"}
