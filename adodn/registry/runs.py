"""What MLflow has on record of a training run: its experiment, its code, its data."""

import json
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Run

from adodn.mlflow_server import reaching
from adodn.registry.versions import ModelVersion, connect, resolve
from adodn.tracking import DatasetRef


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """A training run, in what a result is traced by."""

    run_id: str
    name: str
    status: str
    fingerprint: str
    """Of its experiment; empty where nobody said."""
    commit: str
    """As `provenance.git_commit` gives it; empty where nobody said."""
    datasets: tuple[DatasetRef, ...]
    """What it was trained on. MLflow keeps the first 36 digits of a digest."""


def find_run(run_id: str) -> RunRecord:
    """The run of that id.

    Raises:
        TrackingError: If there is none, or the server refuses or cannot be reached.
    """
    uri, client = connect()
    with reaching(uri, f"find run {run_id!r}"):
        return run_record(client, run_id)


def find_version(name_or_uri: str) -> ModelVersion:
    """The version that `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `NAME` (its champion) means.

    Raises:
        TrackingError: If there is none, or the server refuses or cannot be reached.
    """
    uri, client = connect()
    with reaching(uri, f"find {name_or_uri!r}"):
        return resolve(client, name_or_uri)


def run_record(client: MlflowClient, run_id: str) -> RunRecord:
    """The run of that id, from a server at hand.

    Raises:
        MlflowException: If there is none, or the server refuses or cannot be reached.
    """
    run: Run = client.get_run(run_id)
    tags = run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return RunRecord(
        run_id=run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        fingerprint=tags.get("fingerprint", ""),
        commit=tags.get("mlflow.source.git.commit", ""),
        datasets=tuple(_dataset(one) for one in inputs if _is_training(one)),
    )


def _is_training(one: DatasetInput) -> bool:
    return any(tag.key == "mlflow.data.context" and tag.value == "training" for tag in one.tags)


def _dataset(one: DatasetInput) -> DatasetRef:
    try:
        source = json.loads(one.dataset.source)
    except ValueError:
        source = None
    uri = source.get("uri") if isinstance(source, dict) else None
    return DatasetRef(name=one.dataset.name, digest=one.dataset.digest, uri=uri if isinstance(uri, str) else "")
