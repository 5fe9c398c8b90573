"""The whole chain by the literal commands of the README, on the session's stack.

pytest tests/e2e
"""

import json
import time
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from ray.job_submission import JobSubmissionClient

from adodn import datasets, publish, settings
from adodn.data.images import decode
from adodn.predict import Predictor
from tests.prefect_client import artifact, flow_run, prefect, run_id

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

SMOKE = {
    "recipe": "adodn_smoke",
    "options": {"num_train": 64, "num_val": 16, "num_common": 8, "num_challenging": 8, "size_px": 80},
    "workers": 2,
}


def test_the_bare_name_trains_evaluates_and_registers(deployed: None) -> None:
    """`prefect deployment run train-adodn --watch` completes, leaves a champion that predicts, and shows its work."""
    places = settings.get()
    client = MlflowClient(places.mlflow_tracking_uri)
    before = {version.version for version in client.search_model_versions("name = 'adodn-68'")}

    done = prefect("deployment", "run", "train-adodn", "--watch", "--params", json.dumps(SMOKE))

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert flow_run(run_id(done.stdout))["state"]["type"] == "COMPLETED"
    after = {version.version for version in client.search_model_versions("name = 'adodn-68'")}
    assert len(after - before) == 1
    newest = client.get_model_version_by_alias("adodn-68", "challenger")
    assert {newest.version} == after - before
    pages = [file.path for file in client.list_artifacts(newest.run_id, "report")]
    assert pages == ["report/synthetic-full.html"]
    predictor = Predictor.load("models:/adodn-68@champion")
    face = next(iter(datasets.open("synthetic", None, num_train=1, num_val=1, num_common=1, num_challenging=1)))
    (found,) = predictor([decode(face.image, "face")], [face.box])
    assert found.landmarks.shape == (68, 2) and np.isfinite(found.landmarks).all()
    assert "](data:image/jpeg;base64," in artifact("sharded-faces")
    assert {row["what"] for row in json.loads(artifact("sharded-dataset"))} >= {
        "split train",
        "split val",
        "split test",
    }
    assert artifact("train-progress") == 100
    assert artifact("summary").startswith(r"## models\:/adodn-68/") and "| **full** |" in artifact("summary")
    shown = {row["name"]: row["value"] for row in json.loads(artifact("results"))}
    assert 0 < shown["synthetic/challenging nme@outer_eye_corners"] < 1
    assert all(artifact(name.replace(".", "-")).startswith("data:image/") for name in publish.PICTURES)
    assert newest.run_id and f"[MLflow run]({places.mlflow_tracking_uri}" in artifact("mlflow-run")
    assert newest.run_id in artifact("mlflow-run")


def test_cancelling_the_flow_stops_its_job(deployed: None) -> None:
    """`train-adodn/train-adodn` works too; cancelled in training, no Ray job goes on."""
    long = {**SMOKE, "changes": {"train.epochs": 200}}
    done = prefect("deployment", "run", "train-adodn/train-adodn", "--params", json.dumps(long))
    assert done.returncode == 0, done.stderr
    identity = run_id(done.stdout)
    places = settings.get()
    token = places.ray_auth_token.get_secret_value()
    client = JobSubmissionClient(places.ray_dashboard_url, headers={"Authorization": f"Bearer {token}"})

    def jobs() -> list[str]:
        return [str(job.status) for job in client.list_jobs() if identity in (job.submission_id or "")]

    wait_until(lambda: "RUNNING" in jobs(), 180)
    assert prefect("flow-run", "cancel", identity).returncode == 0

    wait_until(lambda: jobs() == ["STOPPED"], 90)
    wait_until(lambda: flow_run(identity)["state"]["type"] == "CANCELLED", 60)


@pytest.mark.parametrize(
    ("name", "word"), [("no-such-deployment", "no deployment is named"), ("train-adodn/nope", "train-adodn/nope")]
)
def test_an_unknown_deployment_is_one_clear_error(deployed: None, name: str, word: str) -> None:
    """No traceback, and the name in the message."""
    done = prefect("deployment", "run", name)

    assert done.returncode == 1
    assert word in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "parameters",
    [{"no_such_parameter": 1}, {"run_name": "x; rm -rf /"}],
)
def test_bad_parameters_are_refused_before_any_work(deployed: None, parameters: dict[str, Any]) -> None:
    """The client or the server refuses; no flow run is made. All that is refused: `tests/unit/test_flow_rules.py`."""
    done = prefect("deployment", "run", "train-adodn", "--params", json.dumps(parameters))

    assert done.returncode == 1, done.stdout


def wait_until(holds: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(1)
