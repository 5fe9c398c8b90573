"""What a trial of a search costs beyond its training, on a Ray cluster of this process's own with two cores.

Of trials one at a time, one epoch long and three epochs long: what is left when the epochs are taken off.

import bench_search; bench_search.run()
"""

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from adodn import datasets, recipes, settings
from adodn.commands.search import SMOKE_FACES, SMOKE_RECIPE
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import read_manifest, shard_dataset
from adodn.data.store import S3Store
from adodn.train import distributed
from adodn.train.loaders import on_data
from tests.benchmarks.measure import Row, alternately, row
from tests.benchmarks.s3_server import s3_server
from tune.search import Plan, search
from tune.space import SPACES

_TRIALS = 2
_SHORT, _LONG = 1, 3
"""Epochs."""


def run() -> list[Row]:
    """The measurement `search_trial_overhead`."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    with TemporaryDirectory() as home, s3_server(Path(home)) as store, patch.dict(os.environ, _places(home, store)):
        settings.get.cache_clear()
        store.ensure_bucket("adodn")
        raw = datasets.open("synthetic", None, **SMOKE_FACES)
        uri, _ = shard_dataset(raw, store, settings.get().datasets_uri, ImagePolicy())
        distributed.connect(None, show_workers=False)
        try:
            short, long = (_seconds_a_trial(uri, epochs) for epochs in (_SHORT, _LONG))
            (empty,) = alternately(_empty_training, repeats=_TRIALS, warm_up=0)
        finally:
            ray.shutdown()
            settings.get.cache_clear()
    epoch = (long - short) / (_LONG - _SHORT)
    return [
        row(
            "search_trial_overhead",
            short - _SHORT * epoch,
            "s",
            limit=empty.wall_s,
            limit_is="Ray Train starting one worker that does nothing",
            epoch_s=epoch,
            trial_is=f"{SMOKE_RECIPE}, one worker, one trial at a time, the least of {_TRIALS}",
        )
    ]


def _places(home: str, store: S3Store) -> dict[str, str]:
    """The environment in which all processes of the cluster find this server and nothing else."""
    return {
        "ADODN_HOME": home,
        "ADODN_S3_ENDPOINT_URL": store.endpoint_url,
        "ADODN_S3_ACCESS_KEY": store.access_key,
        "ADODN_S3_SECRET_KEY": store.secret_key.get_secret_value(),
        "ADODN_MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
    }


def _seconds_a_trial(uri: str, epochs: int) -> float:
    places = settings.get()
    config = recipes.get(SMOKE_RECIPE).with_fields({"train.epochs": epochs})
    config = on_data(config, [read_manifest(S3Store.from_settings(places), uri)])
    plan = Plan(
        name=f"bench-{epochs}",
        config=config,
        dataset_uris=(uri,),
        space=SPACES["papers"],
        trials=_TRIALS,
        concurrent=1,
        objectives=("nme", "parameters"),  # with which none is stopped early
    )
    study = search(plan, places=places, resume=False)
    return min(trial.duration.total_seconds() for trial in study.get_trials() if trial.duration)


def _empty_training() -> None:
    TorchTrainer(_nothing, scaling_config=ScalingConfig(num_workers=1), torch_config=TorchConfig(backend="gloo")).fit()


def _nothing() -> None:
    pass
