"""Which model is in use: versions of `adodn-<protocol>`, the aliases `challenger` and `champion`, and how they move.

    version = register(model, config, [report], run_id)             # becomes challenger
    decision = promote_if_better(version.name, "300w/all nme@outer_eye_corners", why="nightly")
    decision.moved, decision.reason
    rollback(version.name, why="fails on profile faces")
    state, config = load_state("models:/adodn-68@champion")

Nothing is ever unpickled: the registry keeps `weights.safetensors` and `config.json` beside an exported graph, which is
for others' serving tools. Each file has its sha256 on record, and all are checked when a model is loaded.
"""

from adodn.registry.files import FILES_TAG
from adodn.registry.loading import RegisteredModel, fetched, load_state
from adodn.registry.moves import Decision, Move, audit, promote_if_better, rollback
from adodn.registry.registering import add_reports, register
from adodn.registry.runs import RunRecord, find_run, find_version
from adodn.registry.versions import CHALLENGER, CHAMPION, ModelVersion

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "FILES_TAG",
    "Decision",
    "ModelVersion",
    "Move",
    "RegisteredModel",
    "RunRecord",
    "add_reports",
    "audit",
    "fetched",
    "find_run",
    "find_version",
    "load_state",
    "promote_if_better",
    "register",
    "rollback",
]
