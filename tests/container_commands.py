"""Runs on this machine what a container of the cluster's manifests would run, with its environment and other addresses.

with running(container, made, swaps, folder) as process: ...
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.deployments import ROOT
from tests.manifests import command, variables

_PROGRAMS = Path(sys.executable).parent


@contextmanager
def running(
    container: dict[str, Any],
    made: dict[str, dict[str, str]],
    swaps: Mapping[str, str],
    folder: Path,
    **more: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """The container's program; ended with its children afterwards.

    Args:
        container: Of a manifest.
        made: The Secrets, by name and key.
        swaps: Text in words and variables, such as an address in the cluster, and what stands for it here.
        folder: For its log, and where it is run.
        more: Further variables.
    """
    words = [swapped(word, swaps) for word in command(container)]
    words[0] = str(_PROGRAMS / words[0])
    environment = environment_of(container, made, swaps) | more
    with (folder / f"{container['name']}.log").open("wb") as log:
        process = subprocess.Popen(words, env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def environment_of(
    container: dict[str, Any], made: dict[str, dict[str, str]], swaps: Mapping[str, str]
) -> dict[str, str]:
    """All that a container's program finds in its environment, as it is on this machine."""
    given = variables(container, made)
    values = {name: made[value[0]][value[1]] if isinstance(value, tuple) else value for name, value in given.items()}
    kept = {name: os.environ[name] for name in ("HOME", "PYTHONPATH") if name in os.environ}
    found = kept | {name: swapped(value, swaps) for name, value in values.items()}
    return found | {"PATH": f"{_PROGRAMS}:{os.environ['PATH']}"}


def swapped(text: str, swaps: Mapping[str, str]) -> str:
    """A text as it is on this machine."""
    for there, here in swaps.items():
        text = text.replace(there, here)
    return text
