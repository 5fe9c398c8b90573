"""How a model gets on record, and becomes the challenger."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from mlflow import MlflowClient
from mlflow.exceptions import RestException

from adodn.config import ExperimentConfig
from adodn.evaluate import EvaluationReport
from adodn.mlflow_server import reaching
from adodn.model_card import DESCRIPTION_CHARACTERS, CardFacts, TrainedOn, model_card
from adodn.model_files import CONFIG, WEIGHTS
from adodn.registry.evidence import kept_answer, kept_errors
from adodn.registry.files import FILES_TAG
from adodn.registry.logged import OWN_FILES, Logged, log_model
from adodn.registry.moves import challenge
from adodn.registry.runs import run_record
from adodn.registry.versions import ModelVersion, connect, resolve, result_tags, version_of


def register(
    model: torch.nn.Module,
    config: ExperimentConfig,
    reports: Sequence[EvaluationReport],
    run_id: str,
    *,
    who: str | None = None,
    why: str = "trained",
) -> ModelVersion:
    """Put a model on record and make it the challenger. Its version is not there until all that it needs is.

    Args:
        model: Maps uint8 images `[B, 3, S, S]` to an object with `landmarks`; it is put into evaluation mode.
        config: What it was trained as.
        reports: Its evaluations; the gate compares them.
        run_id: The run that trained it.
        who: Whom the audit names; the user of this process where not given.
        why: What the audit says.

    Raises:
        ConfigError: If two reports have a figure of the same name.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    results = result_tags(reports)
    uri, client = connect()
    name = f"adodn-{config.model.protocol}"
    with reaching(uri, f"register {name!r}"):
        logged = log_model(client, model, config, run_id)
        facts = _card_facts(client, logged, config, reports, run_id)
        _keep_card(client, facts, logged, run_id)
        evidence = {**kept_errors(name, reports), **kept_answer(model, config)}
        tags = {
            "weights_sha256": logged.sha256[f"{OWN_FILES}/{WEIGHTS}"],
            "config_sha256": logged.sha256[f"{OWN_FILES}/{CONFIG}"],
            FILES_TAG: json.dumps(logged.sha256, sort_keys=True),
            "fingerprint": config.fingerprint(),
            "training_dataset_digest": config.data.dataset,
            **results,
            **evidence,
        }
        _ensure_registered_model(client, name)
        created = client.create_model_version(
            name,
            logged.uri,
            run_id,
            tags=tags,
            model_id=logged.model_id,
            description=model_card(facts, max_characters=DESCRIPTION_CHARACTERS),
        )
        version = version_of(created, tags)
    challenge(version, who=who, why=why)
    return version


def add_reports(name_or_uri: str, reports: Sequence[EvaluationReport]) -> None:
    """Keep further evaluations with a version, e.g. the champion's on a dataset that is new.

    Raises:
        ConfigError: If two reports have a figure of the same name.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = connect()
    with reaching(uri, f"add reports to {name_or_uri!r}"):
        version = resolve(client, name_or_uri)
        for key, value in {**result_tags(reports), **kept_errors(version.name, reports)}.items():
            client.set_model_version_tag(version.name, str(version.version), key, value)


def _card_facts(
    client: MlflowClient, logged: Logged, config: ExperimentConfig, reports: Sequence[EvaluationReport], run_id: str
) -> CardFacts:
    run = run_record(client, run_id)
    # MLflow cuts digests; the config has them whole.
    whole = {digest[: len(one.digest)]: digest for digest in config.data.digests for one in run.datasets}
    return CardFacts(
        config=config,
        reports=tuple(reports),
        trained_on=tuple(
            TrainedOn(name=one.name, digest=whole.get(one.digest, one.digest), uri=one.uri) for one in run.datasets
        ),
        run_name=run.name,
        run_id=run_id,
        commit=run.commit,
        sha256=logged.sha256,
    )


def _keep_card(client: MlflowClient, facts: CardFacts, logged: Logged, run_id: str) -> None:
    """With the run, under the model's own id: a run whose model is registered twice keeps both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{logged.model_id}.md"
        path.write_text(model_card(facts), encoding="utf-8")
        client.log_artifact(run_id, str(path), "model_card")


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except RestException:
        # There already, or made by another at the same moment, which a server on SQLite may call by other names.
        client.get_registered_model(name)
