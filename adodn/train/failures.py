"""What ended a training that had no error of ours, in one line with the way on.

raise lost("first", {1: RuntimeError("gloo: connection closed by peer"), 0: MemoryError()})
"""

import textwrap
from collections.abc import Mapping

from adodn.errors import TrainingLostError

_LONGEST = 300
_MEMORY = ("MemoryError", "OutOfMemory", "out of memory", "OOM", "allocate memory")
_FOR_OTHERS_SAKE = ("gloo", "NCCL", "Connection closed by peer")
"""Words of workers that failed because another one did."""


def lost(run_name: str, failures: Mapping[int | None, BaseException]) -> TrainingLostError:
    """The error of a training whose processes failed for good.

    Args:
        run_name: Names the run.
        failures: By rank, what was raised there; by None, what the driver or controller met.
    """
    by_cause = sorted(failures.items(), key=lambda failure: any(word in str(failure[1]) for word in _FOR_OTHERS_SAKE))
    rank, failure = by_cause[0]
    failure = getattr(failure, "health_check_failure", failure)
    where = "" if rank is None else f" on rank {rank}"
    text = " ".join(f"{type(failure).__name__}: {failure}".split())
    memory = any(word in text for word in _MEMORY)
    return TrainingLostError(
        f"run {run_name!r} ended because its processes failed again and again, the last time{where} with "
        f"{textwrap.shorten(text, _LONGEST)}; "
        + ("if memory was short, let fewer faces through at a time (--micro-batch); " if memory else "")
        + "start it again under its name: it goes on at its last checkpoint"
    )
