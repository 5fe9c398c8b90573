"""A training that goes on with another number of workers is the same training.

pytest tests/unit/test_world_sizes.py
"""

import io
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adodn.config import local_batch, worker_counts
from adodn.errors import ConfigError
from adodn.train import checkpoint
from adodn.train.loop import fit, synchronise
from adodn.train.peers import from_rank_zero, rank
from adodn.train.state import TrainState
from tests.memory_training import Faces, Hooked, small_config, small_state
from tests.processes import together

STEPS = 3
CHANGES: dict[str, object] = {"train.ema_decay": 0.9, "train.epochs": 3, "model.drop_warmup_epochs": 0}


class Stopped(Exception):
    """Raised in place of a group that is taken away."""


def stage(file: Path, stop: int | None) -> dict[str, Any]:
    """Goes on at the file, if it is there, to a step at which it leaves another, or to the end."""
    state = small_state(small_config(CHANGES), STEPS)
    content = from_rank_zero(file.read_bytes() if file.exists() and rank() == 0 else None)
    if content:
        state.load_state_dict(checkpoint.read(io.BytesIO(content), "here"))

    def after_step(state: TrainState) -> None:
        if state.step == stop:
            synchronise(state)
            saved = checkpoint.to_bytes(checkpoint.snapshot(state))
            if rank() == 0:
                file.write_bytes(saved)
            raise Stopped

    hooks = Hooked(after_step)
    with suppress(Stopped):
        fit(state, Faces(STEPS, 8), Faces(2, 8), hooks)
    return {"metrics": hooks.results(), "step": state.step}


def test_a_group_that_shrinks_and_grows_ends_with_the_same(tmp_path: Path) -> None:
    """Fault 31: two workers, then one, then four, changed in mid-epoch and at an epoch's end; losses and validation of
    all epochs are those of one process that was never disturbed, to 1e-10.
    """
    file, metrics = tmp_path / checkpoint.FILE_NAME, []
    for number, (workers, stop) in enumerate(((2, 4), (1, 6), (4, None))):
        metrics += together(partial(stage, file, stop), tmp_path / str(number), workers)[0]["metrics"]
    calm = stage(tmp_path / "none", None)

    assert calm["step"] == 3 * STEPS and len(metrics) == 3
    for mine, expected in zip(metrics, calm["metrics"], strict=True):
        assert mine == pytest.approx(expected, rel=1e-10)


def sent() -> dict[str, Any]:
    """What each process has of what rank 0 sent."""
    contents = [None, b"", b"one", bytes(range(256)) * 10_000]
    received = [from_rank_zero(content if rank() == 0 else b"mine") for content in contents]
    return {"equal": received == contents}


def test_what_rank_zero_has_all_have(tmp_path: Path) -> None:
    """Nothing, an empty file, some bytes, many; whatever the others pass."""
    for answer in together(sent, tmp_path / "two"):
        assert answer["equal"]


def test_only_sizes_that_share_the_batch_are_allowed() -> None:
    """Eight faces in groups of two: not by three. One number alone is refused, of a range the rest is taken."""
    config = small_config()

    assert worker_counts(config, fewest=1, most=4) == (1, 2, 4)
    assert worker_counts(config, fewest=2, most=3) == (2,)
    assert worker_counts(config, fewest=4, most=4) == (4,)
    assert all(local_batch(config, size) for size in (1, 2, 4))
    with pytest.raises(ConfigError, match=r"cannot be shared by 3 workers; use 1, 2, 4 workers"):
        worker_counts(config, fewest=3, most=3)
    with pytest.raises(ConfigError, match=r"cannot be shared by 5 to 7 workers; use 1, 2, 4 workers"):
        worker_counts(config, fewest=5, most=7)
    with pytest.raises(ConfigError, match=r"min_workers \(--min-workers\) must be at most .* 2, got 4"):
        worker_counts(config, fewest=4, most=2)
