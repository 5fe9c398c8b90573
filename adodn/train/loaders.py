"""The loaders of an experiment: one dataset, or those that cross-protocol training mixes.

    supply = Supply(store=store, cache=cache, patterns=None, threads=2)
    train, val = open_loaders(config, ["s3://adodn/datasets/cofw/1", "s3://adodn/datasets/wflw/1"], supply)

Knows which datasets an experiment is on; how faces are read and mixed, `adodn.data` knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from adodn.config import ExperimentConfig, Source
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import Manifest
from adodn.data.mixture import MixtureLoader, part_seed
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import ConfigError
from adodn.occlusion.patterns import Patterns
from adodn.protocols import LandmarkProtocol, own_definition
from adodn.train.loop import Batches
from adodn.train.peers import rank, world_size


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Supply:
    """Where faces come from, and what prepares them."""

    store: S3Store
    cache: ShardCache
    patterns: Patterns | None
    """For the occluder `pattern`."""
    threads: int
    """That prepare batches, for each loader."""
    pin_memory: bool = False
    """Whether batches go to a GPU."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Dataset:
    uri: str
    manifest: Manifest


def source_of(manifest: Manifest) -> Source:
    """How a cross-protocol experiment names a dataset."""
    return Source(
        name=manifest.dataset,
        dataset=manifest.digest,
        protocol=manifest.protocol,
        protocol_definition=own_definition(manifest.landmark_protocol),
    )


def on_data(config: ExperimentConfig, manifests: Sequence[Manifest]) -> ExperimentConfig:
    """The experiment on a dataset, or on several at once, which is the first stage of cross-protocol training.

    Raises:
        ConfigError: If the model cannot be trained on several, or they cannot be told apart.
    """
    if len(manifests) == 1:
        return config.on_dataset(manifests[0].digest, manifests[0].landmark_protocol)
    return config.on_sources(source_of(manifest) for manifest in manifests)


def open_loaders(
    config: ExperimentConfig, uris: Sequence[str], supply: Supply
) -> tuple[Batches, Batches | Sequence[Batches]]:
    """This worker's training faces and validation faces; where datasets are mixed, the latter by `data.sources`.

    Args:
        config: The experiment, already on its data.
        uris: The datasets' manifests or folders, in any order.
        supply: Where faces come from.

    Raises:
        ConfigError: If they are not those of the experiment, or lack a split.
    """
    found = [_Dataset(uri=uri, manifest=read_manifest(supply.store, uri)) for uri in uris]
    check_datasets(config, {dataset.uri: dataset.manifest for dataset in found})
    if not config.data.sources:
        (dataset,) = found
        seed = config.train.seed
        return _loader(config, dataset, supply, "train", seed), _loader(config, dataset, supply, "val", seed)
    by_digest = {dataset.manifest.digest: dataset for dataset in found}
    return _mixed(config, [by_digest[source.dataset] for source in config.data.sources], supply)


def _mixed(
    config: ExperimentConfig, datasets: Sequence[_Dataset], supply: Supply
) -> tuple[MixtureLoader, list[ShardLoader]]:
    seed = config.train.seed
    parts = [
        _loader(config, dataset, supply, "train", part_seed(seed, number)) for number, dataset in enumerate(datasets)
    ]
    train = MixtureLoader(
        parts,
        branches=[config.branch_number(dataset.manifest.landmark_protocol) for dataset in datasets],
        global_batch=config.train.global_batch,
        rank=rank(),
        world_size=world_size(),
        seed=seed,
        num_threads=supply.threads,
        pin_memory=supply.pin_memory,
    )
    return train, [_loader(config, dataset, supply, "val", seed) for dataset in datasets]


def _loader(config: ExperimentConfig, dataset: _Dataset, supply: Supply, split: str, seed: int) -> ShardLoader:
    return ShardLoader(
        manifest=dataset.manifest,
        base_uri=dataset.uri.removesuffix("/manifest.json"),
        source=supply.store,
        cache=supply.cache,
        split=split,
        protocol=dataset.manifest.landmark_protocol,
        data=config.data,
        input_px=config.model.input_px,
        global_batch=config.train.global_batch,
        rank=rank(),
        world_size=world_size(),
        seed=seed,
        train=split == "train",
        num_threads=supply.threads,
        pin_memory=supply.pin_memory,
        patterns=supply.patterns,
    )


def check_datasets(config: ExperimentConfig, manifests: dict[str, Manifest]) -> None:
    """Refuse datasets that are not those of the experiment.

    Args:
        config: The experiment, already on its data.
        manifests: Address → manifest.

    Raises:
        ConfigError: If digests or protocols differ, or a split that training needs is empty.
    """
    wanted: dict[str, LandmarkProtocol] = {
        source.dataset: source.landmark_protocol for source in config.data.sources
    } or {config.data.dataset: config.model.landmark_protocol}
    digests = sorted(manifest.digest[:12] for manifest in manifests.values())
    if digests != sorted(digest[:12] for digest in wanted):
        raise ConfigError(
            f"{', '.join(manifests)}: dataset digest is {', '.join(digests)}, the experiment is on "
            f"{', '.join(sorted(digest[:12] for digest in wanted))}"
        )
    for uri, manifest in manifests.items():
        if manifest.landmark_protocol != wanted[manifest.digest]:
            raise ConfigError(
                f"{uri}: landmarks are of protocol {manifest.protocol!r}, the model's are "
                f"{wanted[manifest.digest].name!r} or of another definition"
            )
        for split in ("train", "val"):
            if not manifest.num_samples(split):
                raise ConfigError(f"{uri}: split {split!r} must have faces, it has none")
