"""A training in this very process, for who starts many short ones: no process is started, nothing is imported twice.

    outcome = train(config, [dataset_uri], run_name="first-0003", places=settings.get())

To the last bit what Ray Train's one worker comes to. A run is known by (storage, run name), as with `distributed.py`,
but its list of checkpoints is a file of this module's, so that each goes on with what it began itself.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.publish import Outcome
from adodn.settings import Settings
from adodn.train import checkpoint
from adodn.train.driver import check, conclude, start_tracking
from adodn.train.loop import val_metric
from adodn.train.process import Reports, Share, train_process
from adodn.train.state import TrainState
from adodn.train.uploads import Uploads

INDEX = "checkpoints.json"
"""Beside a run's checkpoints: which is the last, and which the best. Written when they are whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """A checkpoint on storage."""

    uri: str
    """Of its folder."""
    sha256: str
    epoch: int
    val_nme: float
    """Infinite where it was not measured."""


def train(
    config: ExperimentConfig,
    dataset_uris: Sequence[str],
    *,
    run_name: str,
    places: Settings,
    threads: int = 1,
    use_gpu: bool = False,
    tags: Mapping[str, str] | None = None,
    heard: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> Outcome:
    """Train, or go on training, in this process.

    Args:
        config: The experiment, already on its data (`loaders.on_data`).
        dataset_uris: Where the manifest lies, or those of all datasets that are mixed.
        run_name: Names the run in storage and in MLflow.
        places: Endpoints and credentials.
        threads: That compute. Loading has one of its own.
        use_gpu: Compute on the GPU that this process sees.
        tags: Of the run in MLflow, beside its own.
        heard: Told the metrics of each checkpoint, and `epoch` and `step`. Whatever it raises ends the training.

    Raises:
        ConfigError: If a setting does not fit the network.
        AdodnError: Whatever stopped the training.
    """
    check(config, num_workers=1, micro_batch=None)
    tracker = start_tracking(config, dataset_uris, run_name, {"workers": "1", **(tags or {})}, places)
    kept = _Checkpoints(S3Store.from_settings(places), f"{places.runs_uri}/{run_name}")

    def report(state: TrainState, metrics: dict[str, float]) -> None:
        kept.add(state, metrics[val_metric(config)])
        heard({"epoch": state.epoch, "step": state.step, **metrics})

    try:
        state = train_process(
            config,
            Share(dataset_uris=tuple(dataset_uris), torch_threads=threads),
            places,
            device=torch.device("cuda" if use_gpu else "cpu"),
            wrap=lambda network: network,
            saved=kept.read_last,
            reports=Reports(report, tracker, every_steps=None),
        )
    except Exception:
        tracker.abandon("FAILED")
        raise
    except (
        KeyboardInterrupt
    ):  # not at SystemExit, by which Ray Tune ends a trial early: it says itself what became of it
        tracker.abandon("KILLED")
        raise
    best = kept.best()
    outcome = Outcome(
        run_name=run_name,
        checkpoint_uri=best.uri,
        val_nme=best.val_nme,
        epochs=state.epoch,
        tracking_run_id=tracker.run_id,
    )
    return conclude(tracker, outcome, places)


class _Checkpoints:
    """A run's checkpoints: the best and the last are kept, others deleted once the list names them no more.

    Args:
        store: The storage.
        base_uri: The run's folder there.
    """

    def __init__(self, store: S3Store, base_uri: str) -> None:
        self._store, self._uri = store, f"{base_uri}/{INDEX}"
        self._uploads = Uploads(store, base_uri)
        self._kept = self._listed()

    def _listed(self) -> dict[str, _Kept]:
        if not self._store.exists(self._uri):
            return {}
        try:
            return {name: _Kept(**row) for name, row in json.loads(self._store.get(self._uri)).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{self._uri}: not a list of checkpoints: {error}; train again under a new run name"
            ) from error

    def add(self, state: TrainState, val_nme: float) -> None:
        """Save the state; where storage does not take it, go on without, as often as `Uploads` tolerates."""
        with tempfile.TemporaryDirectory() as folder:
            file = checkpoint.save(state, Path(folder))
            uri = self._uploads.send(file)
            if uri is None:
                return
            added = _Kept(uri=uri, sha256=_sha256(file.read_bytes()), epoch=state.epoch, val_nme=val_nme)
        before = self._kept
        best = min(added, before.get("best", added), key=lambda one: one.val_nme)
        self._kept = {"last": added, "best": best}
        listed = {name: asdict(one) for name, one in self._kept.items()}
        self._store.put(self._uri, json.dumps(listed, sort_keys=True).encode())
        for uri in {one.uri for one in before.values()} - {added.uri, best.uri}:
            self._store.delete(f"{uri}/{checkpoint.FILE_NAME}")

    def read_last(self) -> dict[str, Any] | None:
        """The state to go on from, if there is one.

        Raises:
            CheckpointError: If it is damaged.
        """
        if "last" not in self._kept:
            return None
        last = self._kept["last"]
        uri = f"{last.uri}/{checkpoint.FILE_NAME}"
        content = self._store.get(uri)
        if (found := _sha256(content)) != last.sha256:
            raise CheckpointError(
                f"{uri}: its sha256 is {found}, {self._uri} says {last.sha256}; train again under a new run name"
            )
        return checkpoint.read(io.BytesIO(content), uri)

    def best(self) -> _Kept:
        """The checkpoint of least validation error.

        Raises:
            CheckpointError: If none was kept.
        """
        if "best" not in self._kept:
            raise CheckpointError(f"{self._uri}: no checkpoint was kept; train again under a new run name")
        return self._kept["best"]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
