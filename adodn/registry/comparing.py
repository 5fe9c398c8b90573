"""The challenger beside the champion, on the same data: nothing moves.

comparison = compare("adodn-68", Gate.default())
comparison.verdict.passed, comparison.verdict.rows
"""

from dataclasses import dataclass

from mlflow import MlflowClient

from adodn.errors import PromotionRefusedError
from adodn.mlflow_server import reaching
from adodn.registry.aliases import ledger_of, publish, version_at
from adodn.registry.evidence import gathered
from adodn.registry.gate import Gate
from adodn.registry.judging import Verdict, judge
from adodn.registry.ledger import Standing
from adodn.registry.versions import CHALLENGER, ModelVersion, connect, resolve


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Who was compared with whom, and what the gate says."""

    name: str
    challenger: ModelVersion
    champion: ModelVersion | None
    """None: there is none, or it was deleted."""
    standing: Standing
    """Who held what then; a promotion holds only as long as the champion is the same."""
    verdict: Verdict | None
    """None: the challenger is champion already."""
    by_hand: bool
    """The gate asks for a person's word."""


def compare(name: str, gate: Gate, *, version: int | None = None) -> Comparison:
    """Ask of the challenger all that the gate asks.

    Args:
        name: Registered model, e.g. `adodn-68`.
        gate: The rule.
        version: The version that challenges; the one with the alias where not given.

    Raises:
        PromotionRefusedError: If there is no challenger.
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached, or has no such model.
    """
    uri, client = connect()
    ledger = ledger_of(name)
    with reaching(uri, f"compare versions of {name!r}"):
        client.get_registered_model(name)
        publish(client, ledger, name)
        standing = ledger.standing()
        challenger = _challenger(client, name, standing, version, uri)
        champion = version_at(client, name, standing.champion)
    verdict = None
    if champion is None or champion.version != challenger.version:
        verdict = judge(gate, *gathered(gate, challenger, champion))
    return Comparison(
        name=name,
        challenger=challenger,
        champion=champion,
        standing=standing,
        verdict=verdict,
        by_hand=gate.by_hand,
    )


def _challenger(client: MlflowClient, name: str, standing: Standing, version: int | None, uri: str) -> ModelVersion:
    if version is not None:
        return resolve(client, f"models:/{name}/{version}")
    found = version_at(client, name, standing.challenger)
    if found is None:
        raise PromotionRefusedError(
            f"{name!r} on {uri} has no {CHALLENGER}; register a model by `adodn evaluate RUN --dataset … --register`"
        )
    return found
