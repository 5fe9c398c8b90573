"""A search and a study as deployments, on the session's stack.

pytest tests/e2e/test_tune_flow.py
"""

import json

import pytest

from adodn import datasets, recipes, settings
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import read_manifest, shard_dataset
from adodn.data.store import S3Store
from tests.finished_training import leave_behind
from tests.prefect_client import artifact, flow_run, prefect, run_id
from tune import studies

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

FACES = {"num_train": 32, "num_val": 8, "num_common": 4, "num_challenging": 4, "size_px": 80}


def test_a_search_ends_with_its_best_config_trained_anew_and_registered(deployed: None) -> None:
    """`tune-adodn` by its bare name: a trial, its picture, and what survives of the gain, shown by Prefect."""
    asked = {"trials": 1, "options": FACES, "epochs": 1, "retrain_seeds": 1, "name": "end-to-end"}

    done = prefect("deployment", "run", "tune-adodn", "--watch", "--params", json.dumps(asked))

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert flow_run(run_id(done.stdout))["state"]["type"] == "COMPLETED"
    places = settings.get()
    best = json.loads(S3Store.from_settings(places).get(f"{places.searches_uri}/end-to-end/best.json"))
    assert best["about"]["search"]["study"] == "end-to-end"
    assert {row["number"] for row in json.loads(artifact("trials"))} == {0}
    told = artifact("winner")
    assert "Trained anew with 1 other seed" in told and "On test: " in told and "models:/adodn-68/" in told
    assert artifact("search-history").startswith("data:image/png;base64,")


def test_a_study_ends_with_its_table_and_picture(deployed: None) -> None:
    """`study-adodn`, its trainings done before: a row for each variant beside the paper's figure, and a picture."""
    places = settings.get()
    store = S3Store.from_settings(places)
    uri, _ = shard_dataset(datasets.open("synthetic", None, **FACES), store, places.datasets_uri, ImagePolicy())
    manifest = read_manifest(store, uri)
    base = recipes.adodn_smoke().on_dataset(manifest.digest, manifest.landmark_protocol)
    for training in studies.get("ablation").trainings(base, range(1)).values():
        leave_behind(store, training, places)
    asked = {"seeds": 1, "dataset_uri": uri}

    done = prefect("deployment", "run", "study-adodn", "--watch", "--params", json.dumps(asked))

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = json.loads(artifact("study"))
    ablation = studies.get("ablation")
    assert [row["variant"] for row in rows] == [variant.name for variant in ablation.variants]
    assert [row["paper"] for row in rows] == [f"{variant.paper:.2f}" for variant in ablation.variants]
    assert artifact("study-picture").startswith("data:image/png;base64,")
