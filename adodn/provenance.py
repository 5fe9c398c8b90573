"""Which code computed a result."""

import os
import subprocess
from pathlib import Path


def git_commit() -> str:
    """The commit of this code, `+` behind it when files differ; `$ADODN_GIT_COMMIT` in images; else `unknown`."""
    given = os.environ.get("ADODN_GIT_COMMIT")
    if given:
        return given
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return commit + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
