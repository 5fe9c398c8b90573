"""Clocks jump, by daylight saving, by a correction, by an hour: durations and deadlines go by one that does not.

pytest tests/unit/test_clocks.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.unit.test_architecture import sources

ROOT = Path(__file__).resolve().parents[2]
WALL_CLOCKS = ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today")
STAMPS = {
    "adodn/data/cache.py": "a file's access time: after a jump, another shard goes first where room is needed",
    "adodn/registry/moves.py": "when a move was made, for people",
    "adodn/train/progress.py": "a line of the log",
    "infra/storage.py": "the term of a certificate",
    "adodn/tracking.py": "MLflow's time of a metric",
}
"""Where the time of day is written down, and what for."""


def wall_clocks(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WALL_CLOCKS:
            yield ast.unparse(node.func)


def test_durations_are_monotonic() -> None:
    """The time of day is read where it is written down, and nowhere else."""
    found = {path.relative_to(ROOT).as_posix() for path in sources() for _ in wall_clocks(path)}

    assert found == set(STAMPS)


def test_the_rule_sees_wall_clocks(tmp_path: Path) -> None:
    """Of both modules; a monotonic clock is none."""
    file = tmp_path / "clocks.py"
    file.write_text("import time\ntime.time()\ntime.monotonic()\ndatetime.now(UTC)\n")

    assert list(wall_clocks(file)) == ["time.time", "datetime.now"]
