"""Trainings by name, each trained once and measured on the test split once, however often one asks.

    evaluation = evaluated_once(outcome, dataset_uri, places)
    evaluation.report.value("300w/challenging nme@outer_eye_corners")

Which trainings there are, a study says (`studies.py`) or the best of a search (`winner.py`).
"""

import json
from dataclasses import dataclass
from typing import Any

from adodn import publish
from adodn.config import ExperimentConfig
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import DataError
from adodn.evaluate import ERRORS, FIGURES, EvaluationReport, read_report
from adodn.publish import Outcome
from adodn.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training that is wanted."""

    run_name: str
    config: ExperimentConfig
    """On its data."""

    @staticmethod
    def of(config: ExperimentConfig, seed: int) -> "Training":
        """An experiment with a seed, under the name that the same experiment always has."""
        seeded = config.with_fields({"train.seed": seed})
        return Training(run_name=seeded.run_name, config=seeded)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What a trained model did on a test split."""

    report: EvaluationReport
    answer: dict[str, Any]
    """The figures as plain JSON, and where the model stands if it is on record."""


def evaluated_once(
    outcome: Outcome, dataset_uri: str, places: Settings, *, put_on_record: str | None = None
) -> Evaluation:
    """The evaluation of a finished training: what lies beside its checkpoints, else measured now and put there.

    Args:
        outcome: Of the training.
        dataset_uri: Manifest or folder of the dataset; another version of it is measured anew.
        places: Endpoints and credentials.
        put_on_record: Why the model is registered and challenges the champion; None: it is not registered.

    Raises:
        AdodnError: As `publish.measure` and `publish.publish`.
    """
    known = _known(outcome.run_name, dataset_uri, places)
    if known and (put_on_record is None or "model_uri" in known.answer):
        return known
    measured = publish.measure(*publish.load_checkpoint(outcome, places), dataset_uri, places)
    answer: dict[str, object] = json.loads(measured.report.to_json())
    if put_on_record is not None:
        published = publish.publish(measured, outcome.tracking_run_id, places, why=put_on_record)
        answer |= {"model_uri": published.model_uri, "is_champion": published.is_champion}
        answer |= {"reason": published.reason, "run_url": published.run_url}
    publish.write_evaluation(outcome.run_name, measured, answer, places)
    return Evaluation(report=measured.report, answer=answer)


def _known(run_name: str, dataset_uri: str, places: Settings) -> Evaluation | None:
    """The evaluation that lies there, if it is whole and on this very dataset, by the usual normaliser."""
    store = S3Store.from_settings(places)
    addresses = {name: publish.evaluation_uri(run_name, name, places) for name in (publish.REPORT, FIGURES, ERRORS)}
    if not all(store.exists(address) for address in addresses.values()):
        return None
    answer, figures = (json.loads(store.get(addresses[name])) for name in (publish.REPORT, FIGURES))
    try:
        report = read_report(store.get(addresses[ERRORS]), addresses[ERRORS], sha256=figures["files"][ERRORS])
    except DataError:  # a later evaluation was broken off between its files
        return None
    manifest = read_manifest(store, dataset_uri)
    wanted = {"dataset_digest": manifest.digest, "normaliser": manifest.landmark_protocol.usual_normaliser}
    if any(answer.get(name) != value or getattr(report, name) != value for name, value in wanted.items()):
        return None
    if report.qualifier:  # of other faces than the usual ones, such as masked ones
        return None
    return Evaluation(report=report, answer=answer)
