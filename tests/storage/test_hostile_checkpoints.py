"""A checkpoint that somebody else put under a run's name: refused with its address, and nothing of it is run.

pytest tests/storage/test_hostile_checkpoints.py
"""

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
}


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


@pytest.mark.parametrize("text", ["", "[]", "3", '"x"', "{", '{"run_name": "x"}', json.dumps({"surprise": 1})])
def test_what_is_no_outcome_is_refused(places: Settings, s3: S3Store, text: str) -> None:
    """What lies where a run says how it ended, but does not say that."""
    name = f"no-outcome-{uuid4().hex}"
    s3.put(publish.outcome_uri(name, places), text.encode())
    with pytest.raises(AdodnError, match="not the outcome of a run"):
        publish.load(name, places)
