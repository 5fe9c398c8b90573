"""Both stages of cross-protocol training as a deployment, on the session's stack.

pytest tests/e2e/test_train_cnt_flow.py
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import mlflow.pyfunc
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

from adodn import publish, settings
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.models import CrossProtocolNet, SingleBranchNet
from infra import deployments
from tests.prefect_client import flow_run, prefect, run_id

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

FACES = {"num_train": 32, "num_val": 8, "num_common": 4, "num_challenging": 4, "size_px": 80}
DATASETS = [
    {"dataset": "synthetic", "options": FACES},
    {"dataset": "mapped", "options": {**FACES, "source": "synthetic", "protocol": "29", "seed": 1}},
]
NAME = "cnt-end-to-end"
STAGES = (f"{NAME}-stage1", f"{NAME}-0-synthetic", f"{NAME}-1-synthetic-as-29")


@dataclass(frozen=True)
class Done:
    """A flow run that ended, and the runs on MLflow by name."""

    flow_run_id: str
    runs: dict[str, Run]


@pytest.fixture(scope="module")
def done(deployed: None) -> Done:
    """`train-cnt` by its bare name, an epoch of each stage."""
    asked = {"datasets": DATASETS, "epochs": 1, "workers": 1, "run_name": NAME}
    told = prefect("deployment", "run", "train-cnt", "--watch", "--params", json.dumps(asked))
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    client = MlflowClient(settings.get().mlflow_tracking_uri)
    found = client.search_runs([client.get_experiment_by_name("adodn").experiment_id], max_results=1000)
    runs = {run.info.run_name: run for run in found if run.info.run_name.startswith(NAME)}
    return Done(flow_run_id=run_id(told.stdout), runs=runs)


def test_the_flow_completes_with_a_run_for_each_stage(done: Done) -> None:
    """One run on all datasets and one on each, all finished, each with its own datasets."""
    assert flow_run(done.flow_run_id)["state"]["type"] == "COMPLETED"
    assert {name: run.info.status for name, run in done.runs.items()} == dict.fromkeys(STAGES, "FINISHED")
    wide, narrow = ({"synthetic"}, {"synthetic-as-29"})
    seen = [{one.dataset.name for one in done.runs[name].inputs.dataset_inputs} for name in STAGES]
    assert seen == [wide | narrow, wide, narrow]


def test_stage_2_began_with_what_stage_1_came_to(done: Done) -> None:
    """The trunk is still stage 1's, as 1e-7 moves it in a few steps; the branch is near it, and has learnt."""
    both, _ = publish.load(STAGES[0], settings.get())
    assert isinstance(both, CrossProtocolNet)
    for name in STAGES[1:]:
        own, config = publish.load(name, settings.get())
        assert isinstance(own, SingleBranchNet) and config.train.initial_model
        first = both.branches[{"29": 0, "68": 1}[config.model.protocol]].state_dict()
        trunk = both.trunk.state_dict()
        for weight, value in own.trunk.named_parameters():
            torch.testing.assert_close(value.detach(), trunk[weight], rtol=0, atol=1e-3, msg=weight)
        for weight, value in own.branch.named_parameters():
            # Random weights of this layer would lie 0.06 apart.
            if weight == "conv.weight":
                assert 0 < float((value.detach() - first[weight]).abs().mean()) < 0.01


@pytest.mark.parametrize(("name", "stage"), [("adodn-68", STAGES[1]), ("adodn-29", STAGES[2])])
def test_each_datasets_model_is_registered_and_predicts_as_it_was_trained(done: Done, name: str, stage: str) -> None:
    """The registered weights and the exported graph answer as the run's own network: trunk and its one branch."""
    run = done.runs[stage].info.run_id
    versions = MlflowClient(settings.get().mlflow_tracking_uri).search_model_versions(f"name = '{name}'")
    (version,) = [version for version in versions if version.run_id == run]
    uri = f"models:/{name}/{version.version}"
    trained, _ = publish.load(stage, settings.get())
    registered, _ = publish.load(uri, settings.get())
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)

    with torch.inference_mode():
        expected = trained(torch.from_numpy(images)).landmarks
        assert torch.equal(registered(torch.from_numpy(images)).landmarks, expected)
    assert expected.shape == (3, int(name.partition("-")[2]), 2)
    assert mlflow.pyfunc.load_model(uri).predict(images) == pytest.approx(expected.numpy(), abs=1e-5)


def test_no_shard_was_made_twice(done: Done) -> None:
    """The flow wrote each shard of the two datasets once, and all stages read those."""
    store = S3Store.from_settings(settings.get())
    uris = {json.loads(one.dataset.source)["uri"] for run in done.runs.values() for one in run.inputs.dataset_inputs}
    expected = Counter(
        f"write-{shard.name}"
        for uri in uris
        for shards in read_manifest(store, uri).splits.values()
        for shard in shards
    )
    assert len(uris) == 2 and sum(expected.values()) >= 6
    assert Counter(written(done.flow_run_id)) == expected


def written(flow_run_id: str) -> Iterator[str]:
    """Names of the tasks that wrote a shard, not from a cache, in the flows that a flow run called."""
    called = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(flow_run_id)]))
    with (
        deployments.on_the_stack(),
        get_client(sync_client=True) as client,
    ):
        for run in client.read_task_runs(flow_run_filter=called, limit=200):
            if run.name.startswith("write-") and run.state and run.state.name == "Completed":
                yield run.name
