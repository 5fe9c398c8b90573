"""Which model is in use: versions of `adodn-<protocol>`, the aliases `challenger` and `champion`, and how they move.

    version = register(model, config, [report], run_id)             # becomes challenger
    decision = promote_if_better(version.name, "300w/all nme@outer_eye_corners", why="nightly")
    decision.moved, decision.reason
    rollback(version.name, why="fails on profile faces")
    state, config = load_state("models:/adodn-68@champion")

An alias moves in this file alone; each move is written down before it happens. Nothing is ever unpickled: the registry
keeps `weights.safetensors` and `config.json` beside an exported graph, which is for others' serving tools.
"""

import getpass
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion as RegistryEntry
from mlflow.exceptions import RestException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import Schema, TensorSpec

from adodn import settings
from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError, ConfigError, PromotionRefusedError
from adodn.evaluate import EvaluationReport
from adodn.model_files import CONFIG, WEIGHTS, read_model, write_model
from adodn.tracking import client_of, metric_key, reaching

CHAMPION = "champion"
CHALLENGER = "challenger"

_AUDIT = "audit."
_RESULT = "result."


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """One registered model."""

    name: str
    version: int
    run_id: str
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        """E.g. `models:/adodn-68/3`."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What the gate decided."""

    moved: bool
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One line of the audit: an alias moved."""

    action: Literal["register", "promote", "rollback"]
    alias: str
    from_version: int | None
    to_version: int
    who: str
    when: str
    """UTC, ISO 8601."""
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Score:
    """A figure as it is kept with a version: never apart from the data that it was measured on."""

    value: float
    num_faces: int
    dataset_digest: str


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
        TrackingError: If the server refuses or cannot be reached.
    """
    results = _result_tags(reports)
    uri, client = _connect()
    name = f"adodn-{config.model.protocol}"
    with reaching(uri, f"register {name!r}"):
        logged, hashes = _log_model(uri, model, config, run_id)
        tags = {
            "weights_sha256": hashes[WEIGHTS],
            "config_sha256": hashes[CONFIG],
            "fingerprint": config.fingerprint(),
            "training_dataset_digest": config.data.dataset,
            **results,
        }
        _ensure_registered_model(client, name)
        created = client.create_model_version(name, logged.model_uri, run_id, tags=tags, model_id=logged.model_id)
        version = _version(created, tags)
        _move(client, name, "register", CHALLENGER, version.version, who, why)
    return version


def add_reports(name_or_uri: str, reports: Sequence[EvaluationReport]) -> None:
    """Keep further evaluations with a version, e.g. the champion's on a dataset that is new.

    Raises:
        ConfigError: If two reports have a figure of the same name.
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = _connect()
    with reaching(uri, f"add reports to {name_or_uri!r}"):
        version = _resolve(client, name_or_uri)
        for key, value in _result_tags(reports).items():
            client.set_model_version_tag(version.name, str(version.version), key, value)


def promote_if_better(name: str, metric: str, *, why: str, who: str | None = None) -> Decision:
    """Let the challenger take the champion's place, if it is better or there is none.

    Args:
        name: Registered model, e.g. `adodn-68`.
        metric: Full name of the figure that decides, lower being better, e.g. `300w/all nme@outer_eye_corners`.
        why: What the audit says.
        who: Whom the audit names; the user of this process where not given.

    Returns:
        Whether the alias moved, and the reason. Figures of other data, or of another number of faces, are not compared.

    Raises:
        ConfigError: If more is better in the metric.
        PromotionRefusedError: If there is no challenger, or it was never measured by that metric.
        TrackingError: If the server refuses or cannot be reached.
    """
    if " auc@" in metric:
        raise ConfigError(f"the metric that decides must be one where lower is better, got {metric!r}; use nme@…")
    uri, client = _connect()
    with reaching(uri, f"promote {name!r}"):
        challenger, champion = (_holder(client, name, alias) for alias in (CHALLENGER, CHAMPION))
        if challenger is None:
            raise PromotionRefusedError(f"{name!r} on {uri} has no {CHALLENGER}; register a model first")
        decision = _judge(challenger, champion, metric)
        if decision.moved:
            _move(client, name, "promote", CHAMPION, challenger.version, who, f"{why} ({decision.reason})")
    return decision


def rollback(name: str, *, why: str, who: str | None = None) -> ModelVersion:
    """Give the champion's place back to whom it took it from, as the audit has it.

    Args:
        name: Registered model, e.g. `adodn-68`.
        why: What the audit says.
        who: Whom the audit names; the user of this process where not given.

    Returns:
        The champion now.

    Raises:
        PromotionRefusedError: If there was no champion before.
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = _connect()
    with reaching(uri, f"roll back {name!r}"):
        champion = _holder(client, name, CHAMPION)
        if champion is None:
            raise PromotionRefusedError(f"{name!r} on {uri} has no {CHAMPION} to roll back")
        promotions = [m for m in _moves(client, name) if m.action == "promote" and m.to_version == champion.version]
        previous = promotions[-1].from_version if promotions else None
        if previous is None:
            raise PromotionRefusedError(f"{champion.uri} on {uri} is the first {CHAMPION}; there is none to go back to")
        _move(client, name, "rollback", CHAMPION, previous, who, why)
        return _resolve(client, f"models:/{name}/{previous}")


def audit(name: str) -> list[Move]:
    """Every move of an alias, oldest first.

    Raises:
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = _connect()
    with reaching(uri, f"read the audit of {name!r}"):
        return _moves(client, name)


def load_state(name_or_uri: str) -> tuple[dict[str, torch.Tensor], ExperimentConfig]:
    """The weights and config of a registered model.

    Args:
        name_or_uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or `NAME` for its champion.

    Returns:
        The `state_dict`, on the CPU, and the config.

    Raises:
        CheckpointError: If a file does not have the hash that was recorded at registration.
        TrackingError: If the server refuses or cannot be reached, or has no such model.
    """
    uri, client = _connect()
    with tempfile.TemporaryDirectory() as folder:
        with reaching(uri, f"load {name_or_uri!r}"):
            version = _resolve(client, name_or_uri)
            files = mlflow.artifacts.download_artifacts(
                f"{version.uri}/extra_files", dst_path=folder, tracking_uri=uri, registry_uri=uri
            )
        missing = {"weights_sha256", "config_sha256"} - version.tags.keys()
        if missing:
            raise CheckpointError(f"{version.uri} on {uri} has no tag {sorted(missing)}; adodn did not register it")
        hashes = {WEIGHTS: version.tags["weights_sha256"], CONFIG: version.tags["config_sha256"]}
        return read_model(Path(files), where=f"{version.uri} on {uri}", sha256=hashes)


class _LandmarksOnly(torch.nn.Module):
    """What is exported: one tensor in, one tensor out."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        landmarks: torch.Tensor = self.model(images).landmarks
        return landmarks


def _log_model(
    uri: str, model: torch.nn.Module, config: ExperimentConfig, run_id: str
) -> tuple[ModelInfo, dict[str, str]]:
    """Log graph, weights and config; what MLflow calls it, and the sha256 of each file."""
    side, landmarks = config.model.input_px, config.model.landmark_protocol.num_landmarks
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 3, side, side))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, landmarks, 2))]),
    )
    mlflow.set_tracking_uri(uri)
    with tempfile.TemporaryDirectory() as folder:
        hashes = write_model(Path(folder), model.state_dict(), config)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pytorch.log_model(
                _LandmarksOnly(model).eval(),
                name="model",
                signature=signature,
                # Two faces, because export takes a batch of one for a constant.
                input_example=np.zeros((2, 3, side, side), dtype=np.uint8),
                serialization_format="pt2",
                # Named, because finding them out runs the model in another process.
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
                extra_files=[str(Path(folder) / name) for name in hashes],
            )
    return logged, hashes


def _judge(challenger: ModelVersion, champion: ModelVersion | None, metric: str) -> Decision:
    ours = _score(challenger, metric)
    if ours is None:
        measured = sorted(key.removeprefix(_RESULT) for key in challenger.tags if key.startswith(_RESULT))
        raise PromotionRefusedError(
            f"{challenger.uri} was never measured by {metric!r}; it has {', '.join(measured) or 'no results'}"
        )
    if champion is None:
        return Decision(moved=True, reason=f"the first champion, {metric} {ours.value:.6f}")
    if champion.version == challenger.version:
        return Decision(moved=False, reason=f"version {champion.version} is champion already")
    theirs = _score(champion, metric)
    if theirs is None or theirs.dataset_digest != ours.dataset_digest:
        seen = "not at all" if theirs is None else f"on dataset {theirs.dataset_digest}"
        return Decision(
            moved=False,
            reason=f"champion {champion.version} was measured by {metric} {seen}, challenger {challenger.version} on "
            f"dataset {ours.dataset_digest}; evaluate both on the same",
        )
    if theirs.num_faces != ours.num_faces:
        return Decision(
            moved=False,
            reason=f"champion {champion.version} was measured by {metric} on {theirs.num_faces} faces, challenger "
            f"{challenger.version} on {ours.num_faces}; evaluate both on the whole split",
        )
    better = ours.value < theirs.value
    compared = f"{ours.value:.6f} against champion {champion.version}'s {theirs.value:.6f}, {ours.num_faces} faces"
    return Decision(moved=better, reason=f"{'better' if better else 'not better'}: {metric} {compared}")


def _score(version: ModelVersion, metric: str) -> _Score | None:
    text = version.tags.get(_RESULT + metric_key(metric))
    return None if text is None else _Score(**json.loads(text))


def _result_tags(reports: Sequence[EvaluationReport]) -> dict[str, str]:
    names = [result.name for report in reports for result in report.results]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"each figure of a version has one value, but {twice[0]!r} comes from several of {len(reports)} reports; "
            "give one report of each dataset"
        )
    return {
        _RESULT + metric_key(result.name): json.dumps(
            asdict(_Score(value=result.value, num_faces=result.num_faces, dataset_digest=report.dataset_digest))
        )
        for report in reports
        for result in report.results
    }


def _move(
    client: MlflowClient,
    name: str,
    action: Literal["register", "promote", "rollback"],
    alias: str,
    to_version: int,
    who: str | None,
    why: str,
) -> None:
    holder, now = _holder(client, name, alias), datetime.now(UTC)
    move = Move(
        action=action,
        alias=alias,
        from_version=holder.version if holder else None,
        to_version=to_version,
        who=who or getpass.getuser(),
        when=now.isoformat(),
        why=why,
    )
    # The audit comes first: it may tell of a move that a crash prevented, but no alias ever moves untold.
    client.set_registered_model_tag(name, f"{_AUDIT}{now:%Y%m%dT%H%M%S.%fZ}", json.dumps(asdict(move)))
    client.set_registered_model_alias(name, alias, str(to_version))


def _moves(client: MlflowClient, name: str) -> list[Move]:
    tags = client.get_registered_model(name).tags
    return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(_AUDIT)]


def _holder(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    if alias not in client.get_registered_model(name).aliases:
        return None
    found = client.get_model_version_by_alias(name, alias)
    return _version(found, dict(found.tags))


def _resolve(client: MlflowClient, name_or_uri: str) -> ModelVersion:
    path = name_or_uri.removeprefix("models:/")
    name, _, alias = path.partition("@")
    base, _, number = name.partition("/")
    if number:
        found = client.get_model_version(base, number)
    else:
        found = client.get_model_version_by_alias(base, alias or CHAMPION)
    return _version(found, dict(found.tags))


def _version(found: RegistryEntry, tags: dict[str, str]) -> ModelVersion:
    return ModelVersion(name=found.name, version=int(found.version), run_id=found.run_id or "", tags=tags)


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except RestException as cause:
        if cause.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _connect() -> tuple[str, MlflowClient]:
    uri = settings.get().mlflow_tracking_uri
    # What MLflow resolves from a `models:/` address it asks of its globals, whatever else it is told.
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return uri, client_of(uri)
