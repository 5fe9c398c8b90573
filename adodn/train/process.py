"""What each process of a training does, whoever started it: build, go on where it stood, fit, and tell of it.

    train_process(config, Share(dataset_uris=uris), places, device=device, wrap=wrap, saved=saved, reports=reports)

`worker.py` calls it in the processes of Ray Train, `alone.py` in a process that trains by itself. Every worker imports
this module before its first step, so what only a driver needs, pictures above all, is not imported here.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adodn import models
from adodn.config import ExperimentConfig
from adodn.data.cache import ShardCache
from adodn.data.store import S3Store
from adodn.occlusion.patterns import Patterns
from adodn.settings import Settings
from adodn.train.determinism import prepare_process
from adodn.train.frozen import freeze
from adodn.train.initial import get_by_digest, start_from_weights
from adodn.train.loaders import Supply, open_loaders
from adodn.train.loop import fit, synchronise, val_metric
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
    """What becomes of a training's progress: checkpoints, figures on MLflow, and a line an epoch.

    Args:
        report: Takes the state and metrics of a checkpoint.
        tracker: Takes the metrics of an epoch; of one process only.
        every_steps: Checkpoints between epochs; None: none.
    """

    def __init__(
        self,
        report: Callable[[TrainState, dict[str, float]], None],
        tracker: "Tracker | None",
        every_steps: int | None,
    ) -> None:
        self._report = report
        self._tracker = tracker
        self._every_steps = every_steps

    def after_step(self, state: TrainState) -> None:
        """Checkpoint in mid-epoch, when asked to."""
        if self._every_steps and state.step % self._every_steps == 0:
            synchronise(state)
            # No validation yet: infinity keeps it from being taken for the best.
            self._report(state, {val_metric(state.config): float("inf")})

    def after_epoch(self, state: TrainState, metrics: dict[str, float]) -> None:
        """Show the epoch, and checkpoint. In this order: who dies between the two goes through the epoch again."""
        if self._tracker is not None:
            self._tracker.log_epoch(state.epoch, metrics)
            # To the job's log, where people look; Ray would print a `print` twice.
            sys.stdout.write(_line(state, metrics) + "\n")
            sys.stdout.flush()
        self._report(state, metrics)


def train_process(
    config: ExperimentConfig,
    share: Share,
    places: Settings,
    *,
    device: torch.device,
    wrap: Callable[[nn.Module], nn.Module],
    saved: Callable[[], dict[str, Any] | None],
    reports: Reports,
) -> TrainState:
    """Train in this process, alone or as one of several, to the end.

    Args:
        config: The experiment, on its data.
        share: This process's part.
        places: Where stores are.
        device: Where the network computes.
        wrap: Makes the network what is called in training, e.g. by `DistributedDataParallel`.
        saved: Reads the `TrainState.state_dict` of the checkpoint to go on from, if there is one.
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


def _resume(state: TrainState, saved: Callable[[], dict[str, Any] | None]) -> None:
    """In a function of its own, so that what was read does not stay in memory while training."""
    if last := saved():
        state.load_state_dict(last)


def _patterns(config: ExperimentConfig, store: S3Store, places: Settings) -> Patterns | None:
    wanted = config.data.augment.occlusion_patterns
    if not wanted:
        return None
    uri = f"{places.patterns_uri}/{wanted}"
    return Patterns.from_json(get_by_digest(store, uri), uri)


def _line(state: TrainState, metrics: dict[str, float]) -> str:
    return (
        f"epoch {state.epoch}/{state.config.train.epochs}  "
        f"loss {metrics['train/loss']:.5f}  val nme {100 * metrics[val_metric(state.config)]:.2f} %  "
        f"best {100 * state.best_nme:.2f} % (epoch {state.best_epoch})  "
        f"{metrics['train/faces_per_second']:.0f} faces/s  waiting {100 * metrics['train/data_wait_fraction']:.0f} %"
    )
