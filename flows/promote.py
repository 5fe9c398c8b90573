"""Flow `promote-adodn`: the challenger through the gate, and what the gate saw on the flow run's page.

prefect deployment run promote-adodn --param by_hand=true --watch
"""

from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from adodn import settings
from flows.artifacts import create_link_artifact, create_table_artifact


@flow(name="promote-adodn")
def promote_adodn(
    model: Annotated[str, Field(pattern=r"^adodn-[A-Za-z0-9_.-]{1,60}$")] = "adodn-68",
    gate: dict[str, Any] | None = None,
    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,100}$")] = "",
    why: Annotated[str, Field(max_length=500)] = "",
    by_hand: bool = False,
) -> dict[str, Any]:
    """Compare the challenger with the champion on the same data, and make it champion if it passes the gate.

    Args:
        model: Registered model.
        gate: Tables as in a gate's TOML file; none for the gate that comes with adodn.
        dataset: Name of the dataset that decides, where both models were measured on several.
        why: What the audit says; by default the name of this flow run.
        by_hand: Whoever passes waits for `adodn approve`.

    Returns:
        What came of it: outcome, version, reason and number of the audit's entry. A refusal fails the flow run.
    """
    # MLflow takes seconds to import, and a server that only reads parameters need not wait.
    from adodn import registry

    rule = registry.Gate.default() if gate is None else registry.Gate.parse(gate, "parameter gate")
    comparison = registry.compare(model, rule.on(dataset))
    _show(comparison)
    decision = registry.promote(comparison, why=why or f"flow run {flow_run.name}", by_hand=by_hand)
    return {
        "outcome": decision.outcome,
        "version": decision.version,
        "reason": decision.reason,
        "entry": decision.entry,
    }


def _show(comparison: Any) -> None:
    verdict = comparison.verdict
    rows = [row.model_dump() for row in verdict.rows] if verdict else []
    said = verdict.reason if verdict else "champion already"
    create_table_artifact(table=rows, key="gate", description=f"{comparison.challenger.uri}: {said}")
    address = f"{settings.get().mlflow_tracking_uri}/#/models/{comparison.name}"
    create_link_artifact(link=address, link_text="Registered model", key="registered-model")
