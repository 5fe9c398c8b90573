"""The list of a run's checkpoints: which is the best where validation errors are not all numbers.

pytest tests/unit/test_checkpoint_index.py
"""

import json
import math
from dataclasses import asdict
from typing import cast

import pytest

from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.train.checkpoint_index import FORMAT, Index, Kept
from adodn.train.checkpoints import read_best


def index_of(*errors: float | None) -> Index:
    """The list after checkpoints with these validation errors, an epoch apart."""
    index = Index(writer="me", generation=0)
    for epoch, error in enumerate(errors, start=1):
        kept = Kept(folder=f"checkpoint_{epoch}", sha256="0" * 64, epoch=epoch, step=epoch, val_nme=error)
        index = index.with_added(kept)
    return index


@pytest.mark.parametrize("error", [math.nan, math.inf, None])
def test_no_error_that_is_not_finite_is_the_best(error: float | None) -> None:
    """Neither before a finite one nor after it; nothing is less than NaN, so it would stay the best for ever."""
    for errors in ([error, 0.05], [0.05, error], [error, 0.07, error, 0.05]):
        best = index_of(*errors).best
        assert best is not None and best.val_nme == 0.05
    assert index_of(error).best is None


class Listed:
    """A store that holds a list, as one of an earlier version may be, and nothing else."""

    def __init__(self, tree: object) -> None:
        self.content = json.dumps(tree).encode()

    def exists(self, uri: str) -> bool:
        return True

    def get_version(self, uri: str) -> tuple[bytes, str]:
        return self.content, "1"


def test_an_earlier_list_may_name_a_best_without_a_finite_error() -> None:
    """It is gone past by the next checkpoint that has one, and is no outcome."""
    tree = asdict(index_of(0.2)) | {"format": FORMAT}
    tree["best"]["val_nme"] = math.nan
    bad = Index(writer="me", generation=1, best=Kept(**tree["best"]))
    next_one = Kept(folder="checkpoint_2", sha256="0" * 64, epoch=2, step=2, val_nme=0.3)

    assert bad.with_added(next_one).best == next_one
    with pytest.raises(CheckpointError, match=r"^s3://b/run: no checkpoint with a finite validation error"):
        read_best(cast(S3Store, Listed(tree)), "s3://b/run")
