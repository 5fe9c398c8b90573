"""A checkpoint that somebody else put under a run's name: refused with its address, and nothing of it is run.

pytest tests/storage/test_hostile_checkpoints.py
"""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch

from adodn import publish, recipes
from adodn.data.store import S3Store
from adodn.errors import AdodnError, CheckpointError
from adodn.publish import Outcome
from adodn.settings import Settings
from adodn.train import checkpoint
from adodn.train.loop import fit
from adodn.train.state import TrainState
from tests.memory_training import Faces, Hooked, small_config, small_state

CONFIG = recipes.get("adodn_smoke").to_json()


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


CONTENTS: dict[str, Callable[[Path], bytes]] = {
    "a bare pickle": lambda marker: pickle.dumps(Evil(marker)),
    "a pickle as torch saves it": lambda marker: saved(Evil(marker)),
    "a pickle among tensors": lambda marker: saved({"config": CONFIG, "network": {"a": Evil(marker)}}),
    "a pickle for a config": lambda marker: saved({"config": Evil(marker), "network": {}}),
    "a whole module": lambda marker: saved(torch.nn.Linear(1, 1)),
    "nothing": lambda marker: b"",
    "an error page": lambda marker: b"<html>503</html>",
    "a list": lambda marker: saved([torch.zeros(1)]),
    "no config": lambda marker: saved({"network": {}}),
    "a config that is none": lambda marker: saved({"config": "{", "network": {}}),
    "a number for a config": lambda marker: saved({"config": 3, "network": {}}),
    "no weights": lambda marker: saved({"config": CONFIG}),
    "other weights": lambda marker: saved({"config": CONFIG, "network": {"x": torch.zeros(1)}}),
    "a number for weights": lambda marker: saved({"config": CONFIG, "network": 3}),
    "weights without names": lambda marker: saved({"config": CONFIG, "network": {3: torch.zeros(1)}}),
    "a tensor": lambda marker: saved(torch.zeros(1)),
}


def one_moment_of_another_shape() -> dict[str, Any]:
    """What the optimiser remembers after a step, of one weight in another shape."""
    state = small_state(small_config())
    fit(state, Faces(1, 8), Faces(1, 8), Hooked())
    remembered = state.state_dict()["optimiser"]
    remembered["state"][0]["exp_avg"] = torch.zeros(1, 1)
    return {"optimiser": remembered}


CHANGES: dict[str, Callable[[], dict[str, Any]]] = {
    "weights": lambda: {"network": {"x": torch.zeros(1)}},
    "weights that are none": lambda: {"network": None},
    "weights without names": lambda: {"network": {3: torch.zeros(1)}},
    "parameter groups": lambda: {"optimiser": {"state": {}, "param_groups": []}},
    "no optimiser": lambda: {"optimiser": 3},
    "moments": one_moment_of_another_shape,
    "rng": lambda: {"rng": "x"},
    "rng of another size": lambda: {"rng": torch.zeros(3, dtype=torch.uint8)},
    "rng of another type": lambda: {"rng": torch.zeros(5056)},
    "schedule": lambda: {"schedule": {"best": 0.1}},
    "epoch": lambda: {"epoch": "1"},
    "epoch below 0": lambda: {"epoch": -1},
    "step": lambda: {"step": 1.5},
    "best error": lambda: {"best_nme": "0.1"},
    "loader": lambda: {"loader": [1]},
    "sums": lambda: {"epoch_sums": {"loss": "x"}},
}
"""Of a sound checkpoint's content."""


@pytest.mark.parametrize("what", CONTENTS)
def test_fault_57_a_hostile_checkpoint_is_refused(places: Settings, s3: S3Store, tmp_path: Path, what: str) -> None:
    """One error that names the file; nothing is made by reading it."""
    name, marker = f"hostile-{uuid4().hex}", tmp_path / "ran"
    folder = f"{places.runs_uri}/{name}/checkpoint"
    s3.put(f"{folder}/{checkpoint.FILE_NAME}", CONTENTS[what](marker))
    outcome = Outcome(run_name=name, checkpoint_uri=folder, val_nme=0.1, epochs=1, tracking_run_id="r")
    publish.write_outcome(outcome, places)
    with pytest.raises(CheckpointError) as caught:
        publish.load(name, places)
    assert folder in str(caught.value)
    assert not marker.exists()


def test_another_checkpoint_than_the_run_ended_with_is_refused(places: Settings, s3: S3Store) -> None:
    """Sound in itself, but put there since: what is measured and registered is what was trained."""
    name = f"exchanged-{uuid4().hex}"
    folder = f"{places.runs_uri}/{name}/checkpoint"
    mine, other = (saved({"config": CONFIG, "network": {"x": torch.full((1,), value)}}) for value in (1.0, 2.0))
    outcome = Outcome(
        run_name=name,
        checkpoint_uri=folder,
        val_nme=0.1,
        epochs=1,
        tracking_run_id="r",
        sha256=hashlib.sha256(mine).hexdigest(),
    )
    publish.write_outcome(outcome, places)
    s3.put(f"{folder}/{checkpoint.FILE_NAME}", other)

    refused = f"^{folder}.*sha256 must be {outcome.sha256}"
    with pytest.raises(CheckpointError, match=refused):
        publish.load(name, places)
    with pytest.raises(CheckpointError, match=refused):
        publish.load_checkpoint(outcome, places)


@pytest.fixture
def state() -> TrainState:
    return small_state(small_config())


def go_on(state: TrainState, content: bytes) -> None:
    """As a process of a training does."""
    state.load_state_dict(checkpoint.read(io.BytesIO(content), "here"))


@pytest.mark.parametrize("what", CONTENTS)
def test_a_hostile_checkpoint_is_not_gone_on_from(state: TrainState, tmp_path: Path, what: str) -> None:
    """An error of ours, which ends a training at once: of any other, Ray would start its workers three times more."""
    with pytest.raises(CheckpointError):
        go_on(state, CONTENTS[what](tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", CHANGES)
def test_a_checkpoint_with_one_wrong_part_is_not_gone_on_from(state: TrainState, what: str) -> None:
    """Also where format and experiment are right."""
    with pytest.raises(CheckpointError, match=r"^checkpoint is not of a training as this one: .*train again"):
        go_on(state, saved(state.state_dict() | CHANGES[what]()))


@pytest.mark.parametrize("part", ["fingerprint", "network", "optimiser", "schedule", "rng", "epoch", "loader"])
def test_a_checkpoint_without_a_part_is_not_gone_on_from(state: TrainState, part: str) -> None:
    """A format of ours and nothing else is not enough."""
    content = state.state_dict()
    del content[part]
    with pytest.raises(CheckpointError):
        go_on(state, saved(content))


@pytest.mark.parametrize("text", ["", "[]", "3", '"x"', "{", '{"run_name": "x"}', json.dumps({"surprise": 1})])
def test_what_is_no_outcome_is_refused(places: Settings, s3: S3Store, text: str) -> None:
    """What lies where a run says how it ended, but does not say that."""
    name = f"no-outcome-{uuid4().hex}"
    s3.put(publish.outcome_uri(name, places), text.encode())
    with pytest.raises(AdodnError, match="not the outcome of a run"):
        publish.load(name, places)
