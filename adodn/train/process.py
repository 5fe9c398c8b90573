"""What each process of a training does, whoever started it: build, go on where it stood, fit, and tell of it.

    train_process(config, Share(dataset_uris=uris), places, device=device, wrap=wrap, saved=saved, reports=reports)

`worker.py` calls it in the processes of Ray Train, `alone.py` in a process that trains by itself. Every worker imports
this module before its first step, so what only a driver needs, pictures above all, is not imported here.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from adodn import models
from adodn.config import ExperimentConfig
from adodn.data.cache import ShardCache
from adodn.data.store import S3Store
from adodn.occlusion.patterns import Patterns
from adodn.settings import Settings
from adodn.train import checkpoint
from adodn.train.checkpoints import Checkpoints
from adodn.train.determinism import prepare_process
from adodn.train.frozen import freeze
from adodn.train.initial import get_by_digest, start_from_weights
from adodn.train.loaders import Supply, open_loaders
from adodn.train.loop import fit, synchronise, val_metric
from adodn.train.peers import world_size
from adodn.train.progress import Progress
from adodn.train.state import TrainState, build_state

if TYPE_CHECKING:
    from adodn.tracking import Tracker


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What a process is given beside its experiment; none of it changes the result."""

    dataset_uris: tuple[str, ...]
    micro_batch: int | None = None
    loader_threads: int = 1
    torch_threads: int = 1


class Reports:
    """What becomes of a training's progress: checkpoints, figures on MLflow, and lines for people.

    Args:
        checkpoints: Takes checkpoints; of one process only.
        tracker: Takes the metrics of an epoch; of one process only.
        heard: Told the metrics of each epoch, and `epoch` and `step`; of all processes.
        progress: Writes lines, where there is a tracker.
        due: Whether there must be a checkpoint after a step, in mid-epoch; the same answer on all processes.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        tracker: "Tracker | None",
        heard: Callable[[dict[str, float]], None],
        progress: Progress,
        due: Callable[[int], bool] = lambda step: False,
    ) -> None:
        self._checkpoints = checkpoints
        self._tracker = tracker
        self._heard = heard
        self._progress = progress
        self._due = due

    def after_step(self, state: TrainState) -> None:
        """Show how far it is, and checkpoint in mid-epoch, when asked to."""
        if self._tracker is not None:
            self._progress.after_step(state)
        if self._due(state.step):
            synchronise(state)
            if self._checkpoints is not None:
                self._checkpoints.add(state, None)

    def after_epoch(self, state: TrainState, metrics: dict[str, float]) -> None:
        """Show the epoch, and checkpoint. In this order: who dies between the two goes through the epoch again.

        With MLflow away, the epoch is told later, and is not there if this process dies before.
        """
        if self._tracker is not None:
            failures = self._checkpoints.failures if self._checkpoints is not None else 0
            more = {"train/checkpoint_failures": float(failures), "train/workers": float(world_size())}
            self._tracker.log_epoch(state.epoch, metrics | more)
            self._progress.after_epoch(state, metrics)
        if self._checkpoints is not None:
            self._checkpoints.add(state, metrics[val_metric(state.config)])
        self._heard({"epoch": state.epoch, "step": state.step, **metrics})


def train_process(
    config: ExperimentConfig,
    share: Share,
    places: Settings,
    *,
    device: torch.device,
    wrap: Callable[[nn.Module], nn.Module],
    saved: Callable[[], bytes | None],
    reports: Reports,
) -> TrainState:
    """Train in this process, alone or as one of several, to the end.

    Args:
        config: The experiment, on its data.
        share: This process's part.
        places: Where stores are.
        device: Where the network computes.
        wrap: Makes the network what is called in training, e.g. by `DistributedDataParallel`.
        saved: The content of the checkpoint to go on from, if there is one; the same on all processes.
        reports: Told of steps and epochs.

    Raises:
        AdodnError: If data, weights or checkpoint are damaged, or training diverges.
    """
    # Of 1 × 1 kernels, which lie in memory alike in both layouts: only their strides differ.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    torch.set_num_threads(share.torch_threads)
    prepare_process(config.train)
    store = S3Store.from_settings(places)
    network = models.build_for(config)
    start_from_weights(network, config, store, places.weights_uri)
    freeze(network, config.train.freeze)
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    network = network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    supply = Supply(
        store=store,
        cache=ShardCache(places.cache_dir, places.cache_max_bytes),
        patterns=_patterns(config, store, places),
        threads=share.loader_threads,
        pin_memory=device.type == "cuda",
    )
    train_faces, val_faces = open_loaders(config, list(share.dataset_uris), supply)
    state = build_state(config, network, wrap(network), len(train_faces))
    _resume(state, saved)
    return fit(state, train_faces, val_faces, reports, micro_batch=share.micro_batch)


def _resume(state: TrainState, saved: Callable[[], bytes | None]) -> None:
    """In a function of its own, so that what was read does not stay in memory while training."""
    if content := saved():
        state.load_state_dict(checkpoint.read(io.BytesIO(content), "the run's last checkpoint"))


def _patterns(config: ExperimentConfig, store: S3Store, places: Settings) -> Patterns | None:
    wanted = config.data.augment.occlusion_patterns
    if not wanted:
        return None
    uri = f"{places.patterns_uri}/{wanted}"
    return Patterns.from_json(get_by_digest(store, uri), uri)
