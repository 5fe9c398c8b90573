"""A recorded surface to search on: validation NME of short trainings over five parameters, and in between.

    python -m tests.benchmarks.search_surface 96         # records it; goes on where it was broken off
    Surface.read().nme({"learning_rate": 1e-3, "p": 0.5, "tau_d": 0.8, "eta": 1e-6, "beta": 1e-6})

What was trained is ADODN's head with all of its modules on a trunk of three layers, for 6 epochs of 128 rendered faces
without augmentation, so a point takes seconds. Points fill the space evenly (Sobol), with one seed. The surface is that
of this toy, chance included: `noise` says how much of it there is. It is there to compare ways to search, not to choose
parameters by it.
"""

import csv
import functools
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.stats import qmc

from adodn import datasets
from adodn.config import ExperimentConfig, LossConfig, ModelConfig, TrainConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.samples import Batch
from adodn.train.determinism import prepare_process
from adodn.train.loop import fit
from tests.benchmarks.s3_server import s3_server
from tests.memory_training import Hooked, small_state


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One parameter of the surface."""

    name: str
    fields: tuple[str, ...]
    low: float
    high: float
    log: bool = False

    def value(self, share: float) -> float:
        """At 0 … 1 of the way from low to high."""
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share

    def share(self, value: float) -> float:
        """The way back."""
        low, high, at = np.log([self.low, self.high, value]) if self.log else (self.low, self.high, value)
        return float((at - low) / (high - low))


AXES = (
    Axis(name="learning_rate", fields=("train.learning_rate",), low=1e-4, high=1e-2, log=True),
    Axis(name="beta", fields=("loss.nuclear_norm",), low=1e-8, high=1e-2, log=True),
    Axis(name="eta", fields=("loss.response_l1", "loss.importance_l1"), low=1e-8, high=1e-2, log=True),
    Axis(name="p", fields=("model.drop_probability",), low=0.0, high=1.0),
    Axis(name="tau_d", fields=("model.drop_threshold",), low=0.1, high=1.0),
)
"""As the search has them (`tune/space.py`)."""
NAMES = tuple(axis.name for axis in AXES)
DEFAULTS = {"learning_rate": 1e-3, "beta": 1e-6, "eta": 1e-6, "p": 0.5, "tau_d": 0.8}
PATH = Path(__file__).with_name("search_surface.csv")
CONFIG = ExperimentConfig(
    name="surface",
    model=ModelConfig(input_px=64, grid=2, rank_width=8, reduction=32, batch_norm_faces=4, drop_warmup_epochs=1),
    loss=LossConfig(regression="smooth_l1"),
    train=TrainConfig(epochs=6, global_batch=16, schedule="one_cycle"),
)
_SEEDS_AT_DEFAULTS = 6
_FACES = {"num_train": 128, "num_val": 64, "num_common": 0, "num_challenging": 0, "size_px": 80}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surface:
    """Errors at N points, and between them."""

    points: NDArray[np.float64]
    """`[N, 5]`, shares of the way along each axis."""
    errors: NDArray[np.float64]
    """`[N]`, fractions; of a training that went astray, 1."""
    noise: float
    """Standard deviation of the error's logarithm between seeds, at the defaults."""

    @staticmethod
    def read(path: Path = PATH) -> "Surface":
        """The recorded one."""
        rows = _rows(path)
        known = [row for row in rows if row["seed"] == 0]
        return Surface(
            points=np.array([[axis.share(row[axis.name]) for axis in AXES] for row in known]),
            errors=np.array([min(1.0, row["nme"]) for row in known]),
            noise=float(np.std([np.log(row["nme"]) for row in rows if row["seed"]], ddof=1)),
        )

    def nme(self, values: Mapping[str, float]) -> float:
        """The error there, a fraction: between points, linear in distances and in the error's logarithm."""
        place = np.array([[axis.share(values[axis.name]) for axis in AXES]])
        return float(np.exp(_between(self)(place)[0]))


@functools.cache
def _between(surface: Surface) -> RBFInterpolator:
    return RBFInterpolator(surface.points, np.log(surface.errors), kernel="linear")


class Kept:
    """Batches that were prepared once, the same every epoch."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """All are alike."""

    def state_dict(self) -> dict[str, int | str]:
        return {}

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """There is nothing to go on with."""


def record(points: int, path: Path = PATH) -> None:
    """Train at the defaults with several seeds, and at so many points; those in the file already are left out."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        train, val = _faces(Path(folder))
    done = len(_rows(path)) if path.exists() else 0
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not done:
            writer.writerow((*NAMES, "seed", "nme"))
        for values, seed in list(_design(points))[done:]:
            nme = measure(values, seed, train, val)
            writer.writerow((*(values[name] for name in NAMES), seed, f"{nme:.5f}"))
            file.flush()


def measure(values: Mapping[str, float], seed: int, train: Kept, val: Kept) -> float:
    """The validation NME after the last epoch, a fraction."""
    config = CONFIG.with_fields({field: values[axis.name] for axis in AXES for field in axis.fields})
    config = config.with_fields({"train.seed": seed})
    prepare_process(config.train)
    hooks = Hooked()
    fit(small_state(config, len(train)), train, val, hooks)
    return hooks.metrics[-1]["val/nme@outer_eye_corners"]


def _design(points: int) -> Iterator[tuple[dict[str, float], int]]:
    """Values and seeds, in the order of the file."""
    for seed in range(1, _SEEDS_AT_DEFAULTS + 1):
        yield DEFAULTS, seed
    yield DEFAULTS, 0
    sobol = qmc.Sobol(len(AXES), rng=np.random.default_rng(0))
    for place in sobol.random_base2(math.ceil(math.log2(points)))[:points]:
        yield {axis.name: float(f"{axis.value(share):.4g}") for axis, share in zip(AXES, place, strict=True)}, 0


def _rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _faces(folder: Path) -> tuple[Kept, Kept]:
    """Rendered faces as the loader gives them, without augmentation."""
    with s3_server(folder / "s3") as store:
        store.ensure_bucket("adodn")
        uri, manifest = shard_dataset(datasets.open("synthetic", **_FACES), store, "s3://adodn/faces", ImagePolicy())

        def batches(split: str) -> Kept:
            loader = ShardLoader(
                manifest=manifest,
                base_uri=uri.removesuffix("/manifest.json"),
                source=store,
                cache=ShardCache(folder / "cache", 10**9),
                split=split,
                protocol=manifest.landmark_protocol,
                data=CONFIG.data,
                input_px=CONFIG.model.input_px,
                global_batch=CONFIG.train.global_batch,
                train=False,
            )
            return Kept(list(loader))

        return batches("train"), batches("val")


if __name__ == "__main__":
    record(int(sys.argv[1]))
