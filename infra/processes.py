"""The processes of a stack, found by a mark in their environment. It starts nothing.

    for process in marked(home, service="ray"): ...
    end_all(home)

Every service is started with the mark and hands it on, so orphans of a killed supervisor are found as well.
"""

import os
from contextlib import suppress
from pathlib import Path

import psutil

from adodn.errors import StackError

MARK_HOME = "ADODN_STACK_HOME"
MARK_SERVICE = "ADODN_STACK_SERVICE"
_GRACE_S = 5.0


def by_service(home: Path) -> dict[str, list[psutil.Process]]:
    """All marked processes of a stack, grouped by service; never this process or one above it."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
        if environment.get(MARK_HOME) == str(home) and process.pid not in own:
            found.setdefault(environment.get(MARK_SERVICE, ""), []).append(process)
    return found


def marked(home: Path, service: str | None = None) -> list[psutil.Process]:
    """The marked processes of a stack, or of one of its services."""
    groups = by_service(home)
    return groups.get(service, []) if service else [process for group in groups.values() for process in group]


def end_all(home: Path, service: str | None = None, grace_s: float = _GRACE_S) -> None:
    """End every marked process: asked first, then killed; again for those that were born meanwhile.

    Raises:
        StackError: some of them cannot be ended.
    """
    for _ in range(5):
        processes = marked(home, service)
        if not processes:
            return
        for process in processes:
            _signal(process, kill=False)
        _, alive = psutil.wait_procs(processes, timeout=grace_s)
        for process in alive:
            _signal(process, kill=True)
        psutil.wait_procs(alive, timeout=grace_s)
    raise StackError(f"processes {[p.pid for p in marked(home, service)]} of the stack in {home} cannot be ended")


def rss_mb(processes: list[psutil.Process]) -> float:
    """Their resident memory in MB; pages that they share count once for each."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 1e6


def _signal(process: psutil.Process, *, kill: bool) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill() if kill else process.terminate()
