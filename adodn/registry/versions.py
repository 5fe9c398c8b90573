"""What is registered, and where: versions of `adodn-<protocol>`, aliases on them, and the figures kept with each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion as RegistryEntry

from adodn import settings
from adodn.errors import ConfigError
from adodn.evaluate import EvaluationReport
from adodn.mlflow_server import client_of
from adodn.tracking import metric_key

CHAMPION = "champion"
CHALLENGER = "challenger"
_RESULT = "result."


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """One registered model."""

    name: str
    version: int
    run_id: str
    source: str
    """What MLflow calls the logged model; a number alone can come again, once a registered model was deleted."""
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        """E.g. `models:/adodn-68/3`."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A figure as it is kept with a version: never apart from the data that it was measured on."""

    value: float
    num_faces: int
    dataset_digest: str


def connect() -> tuple[str, MlflowClient]:
    """The server's address, for messages, and a client of it."""
    uri = settings.get().mlflow_tracking_uri
    # What MLflow resolves from a `models:/` address it asks of its globals, whatever else it is told.
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return uri, client_of(uri)


def resolve(client: MlflowClient, name_or_uri: str) -> ModelVersion:
    """The version that `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `NAME` (its champion) means."""
    path = name_or_uri.removeprefix("models:/")
    name, _, alias = path.partition("@")
    base, _, number = name.partition("/")
    if number:
        found = client.get_model_version(base, number)
    else:
        found = client.get_model_version_by_alias(base, alias or CHAMPION)
    return version_of(found, dict(found.tags))


def version_of(found: RegistryEntry, tags: dict[str, str]) -> ModelVersion:
    """A registered version as ours."""
    return ModelVersion(
        name=found.name, version=int(found.version), run_id=found.run_id or "", source=found.source or "", tags=tags
    )


def result_tags(reports: Sequence[EvaluationReport]) -> dict[str, str]:
    """What is kept with a version of its evaluations."""
    names = [result.name for report in reports for result in report.results]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"each figure of a version has one value, but {twice[0]!r} comes from several of {len(reports)} reports; "
            "give one report of each dataset"
        )
    return {
        _RESULT + metric_key(result.name): json.dumps(
            asdict(Score(value=result.value, num_faces=result.num_faces, dataset_digest=report.dataset_digest))
        )
        for report in reports
        for result in report.results
    }
