"""Which model is in use: versions of `adodn-<protocol>`, the aliases `challenger` and `champion`, and how they move.

    version = register(model, config, [report], run_id)             # becomes challenger
    decision = promote_if_better(version.name, "300w/all nme@outer_eye_corners", why="nightly")
    decision.moved, decision.reason
    rollback(version.name, why="fails on profile faces")
    state, config = load_state("models:/adodn-68@champion")

Nothing is ever unpickled: the registry keeps `weights.safetensors` and `config.json` beside an exported graph, which is
for others' serving tools.
"""

from adodn.registry.loading import load_state
from adodn.registry.moves import Decision, Move, audit, promote_if_better, rollback
from adodn.registry.registering import add_reports, register
from adodn.registry.versions import CHALLENGER, CHAMPION, ModelVersion

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "Decision",
    "ModelVersion",
    "Move",
    "add_reports",
    "audit",
    "load_state",
    "promote_if_better",
    "register",
    "rollback",
]
