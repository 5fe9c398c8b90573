"""How aliases move: each move is written down before it happens, and an alias moves in this file alone."""

import getpass
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient

from adodn.errors import ConfigError, PromotionRefusedError
from adodn.registry.versions import CHALLENGER, CHAMPION, ModelVersion, connect, holder, measured_by, resolve, score
from adodn.tracking import reaching

_AUDIT = "audit."


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
    uri, client = connect()
    with reaching(uri, f"promote {name!r}"):
        challenger, champion = (holder(client, name, alias) for alias in (CHALLENGER, CHAMPION))
        if challenger is None:
            raise PromotionRefusedError(f"{name!r} on {uri} has no {CHALLENGER}; register a model first")
        decision = _judge(challenger, champion, metric)
        if decision.moved:
            move(client, name, "promote", CHAMPION, challenger.version, who, f"{why} ({decision.reason})")
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
    uri, client = connect()
    with reaching(uri, f"roll back {name!r}"):
        champion = holder(client, name, CHAMPION)
        if champion is None:
            raise PromotionRefusedError(f"{name!r} on {uri} has no {CHAMPION} to roll back")
        promotions = [m for m in _moves(client, name) if m.action == "promote" and m.to_version == champion.version]
        previous = promotions[-1].from_version if promotions else None
        if previous is None:
            raise PromotionRefusedError(f"{champion.uri} on {uri} is the first {CHAMPION}; there is none to go back to")
        move(client, name, "rollback", CHAMPION, previous, who, why)
        return resolve(client, f"models:/{name}/{previous}")


def audit(name: str) -> list[Move]:
    """Every move of an alias, oldest first.

    Raises:
        TrackingError: If the server refuses or cannot be reached.
    """
    uri, client = connect()
    with reaching(uri, f"read the audit of {name!r}"):
        return _moves(client, name)


def _judge(challenger: ModelVersion, champion: ModelVersion | None, metric: str) -> Decision:
    ours = score(challenger, metric)
    if ours is None:
        measured = measured_by(challenger)
        raise PromotionRefusedError(
            f"{challenger.uri} was never measured by {metric!r}; it has {', '.join(measured) or 'no results'}"
        )
    if champion is None:
        return Decision(moved=True, reason=f"the first champion, {metric} {ours.value:.6f}")
    if champion.version == challenger.version:
        return Decision(moved=False, reason=f"version {champion.version} is champion already")
    theirs = score(champion, metric)
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


def move(
    client: MlflowClient,
    name: str,
    action: Literal["register", "promote", "rollback"],
    alias: str,
    to_version: int,
    who: str | None,
    why: str,
) -> None:
    """Tell of a move, then make it."""
    before, now = holder(client, name, alias), datetime.now(UTC)
    told = Move(
        action=action,
        alias=alias,
        from_version=before.version if before else None,
        to_version=to_version,
        who=who or getpass.getuser(),
        when=now.isoformat(),
        why=why,
    )
    # The audit comes first: it may tell of a move that a crash prevented, but no alias ever moves untold.
    client.set_registered_model_tag(name, f"{_AUDIT}{now:%Y%m%dT%H%M%S.%fZ}", json.dumps(asdict(told)))
    client.set_registered_model_alias(name, alias, str(to_version))


def _moves(client: MlflowClient, name: str) -> list[Move]:
    tags = client.get_registered_model(name).tags
    return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(_AUDIT)]
