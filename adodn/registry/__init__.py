"""Which model is in use: versions of `adodn-<protocol>`, the aliases `challenger` and `champion`, and how they move.

    version = register(model, config, [report], run_id)             # becomes challenger
    comparison = compare(version.name, Gate.default())              # beside the champion, on the same data
    promote(comparison, why="nightly")                              # becomes champion, or PromotionRefusedError
    rollback(version.name, why="fails on profile faces")
    state, config = load_state("models:/adodn-68@champion")

Who moved what and why is in a ledger on S3, an entry a move; MLflow's aliases show what its last entry says.

Nothing is ever unpickled: the registry keeps `weights.safetensors` and `config.json` beside an exported graph, which is
for others' serving tools. Each file has its sha256 on record, and all are checked when a model is loaded.
"""

from adodn.registry.comparing import Comparison, compare
from adodn.registry.files import FILES_TAG
from adodn.registry.gate import Gate
from adodn.registry.judging import Evidence, Row, Verdict, judge
from adodn.registry.ledger import Entry
from adodn.registry.loading import RegisteredModel, fetched, load_state
from adodn.registry.moves import Decision, approve, audit, promote, reject, rollback
from adodn.registry.registering import add_reports, register
from adodn.registry.runs import RunRecord, find_run, find_version
from adodn.registry.versions import CHALLENGER, CHAMPION, ModelVersion

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "FILES_TAG",
    "Comparison",
    "Decision",
    "Entry",
    "Evidence",
    "Gate",
    "ModelVersion",
    "RegisteredModel",
    "Row",
    "RunRecord",
    "Verdict",
    "add_reports",
    "approve",
    "audit",
    "compare",
    "fetched",
    "find_run",
    "find_version",
    "judge",
    "load_state",
    "promote",
    "register",
    "reject",
    "rollback",
]
