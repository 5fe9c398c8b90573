"""Which code computed a result, and whether this copy of the repository has it."""

import os
import re
import subprocess
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")


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


def has_commit(commit: str) -> bool | None:
    """Whether the repository of this code has a commit; None where this code is in no repository.

    Args:
        commit: 40 hex digits.

    Raises:
        ValueError: If it is something else, which git might take for an option.
    """
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"a commit is 40 hex digits, got {commit!r}")
    here = Path(__file__).parent
    if _git(here, "rev-parse", "HEAD") is None:
        return None
    return _git(here, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def _git(folder: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
