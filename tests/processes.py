"""Work done by several processes that train together, as ranks on one machine.

first, second = together(work, folder)
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

TIMEOUT_S = 600
"""For which they are waited for: processes that hang are ended, and are an error."""


def together(work: Callable[[], dict[str, Any]], folder: Path, processes: int = 2) -> list[dict[str, Any]]:
    """What each process of a group answers, in the order of ranks."""
    folder.mkdir()
    context = mp.start_processes(_process, (work, folder, processes), processes, join=False, start_method="spawn")
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while not context.join(timeout=max(0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"{processes} processes did not end within {TIMEOUT_S} s"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(processes)]


def _process(number: int, work: Callable[[], dict[str, Any]], folder: Path, processes: int) -> None:
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting",
            rank=number,
            world_size=processes,
            timeout=timedelta(seconds=TIMEOUT_S),
        )
    torch.save(work(), folder / f"{number}.pt")
    if processes > 1:
        dist.barrier()
        dist.destroy_process_group()
    os._exit(0)  # torch 2.13's threads abort one in ten interpreters that end after a group
