"""A training in this very process, for who starts many short ones: no process is started, nothing is imported twice.

    outcome = train(config, [dataset_uri], run_name="first-0003", places=settings.get())

To the last bit what Ray Train's one worker comes to. A run is known by (storage, run name), as with `distributed.py`,
and each goes on with what the other began.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.publish import Outcome
from adodn.settings import Settings
from adodn.train.checkpoints import Checkpoints
from adodn.train.driver import check, conclude, start_tracking, told_if_it_fails
from adodn.train.loop import val_metric
from adodn.train.process import Reports, Share, train_process
from adodn.train.progress import Progress


def train(
    config: ExperimentConfig,
    dataset_uris: Sequence[str],
    *,
    run_name: str,
    places: Settings,
    threads: int = 1,
    loader_threads: int = 1,
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
        threads: That compute.
        loader_threads: That prepare batches, beside those.
        use_gpu: Compute on the GPU that this process sees.
        tags: Of the run in MLflow, beside its own.
        heard: Told the metrics of each epoch, and `epoch` and `step`. Whatever it raises ends the training.

    Raises:
        ConfigError: If a setting does not fit the network.
        AdodnError: Whatever stopped the training.
    """
    check(config, num_workers=1, micro_batch=None)
    tracker = start_tracking(config, dataset_uris, run_name, {"workers": "1", **(tags or {})}, places)
    checkpoints = Checkpoints(S3Store.from_settings(places), f"{places.runs_uri}/{run_name}")
    with told_if_it_fails(tracker):
        with checkpoints:
            train_process(
                config,
                Share(dataset_uris=tuple(dataset_uris), torch_threads=threads, loader_threads=loader_threads),
                places,
                device=torch.device("cuda" if use_gpu else "cpu"),
                wrap=lambda network: network,
                saved=checkpoints.claim,
                reports=Reports(checkpoints, tracker, heard, Progress(val_metric(config), places.log_format)),
            )
        return conclude(tracker, run_name, places)
