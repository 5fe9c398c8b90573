"""Decides which face goes into which shard, before any shard is written. It reads every face once and keeps none.

shard_plan = plan(datasets.open("300w", root), ImagePolicy())
shard_plan.version        # the same for equal input, another for anything changed
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

from adodn.data.manifest import SCHEMA_VERSION, ImagePolicy
from adodn.errors import ConfigError, DataError
from adodn.protocols import LandmarkProtocol, own_definition
from adodn.samples import Dataset, FaceSample, SampleRef

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, what is done and what there is in all."""

_WRITER = 1
"""Raised when the same faces would be written as other bytes."""
_SPLITS = ("train", "val", "test")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,94}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedShard:
    """One shard to be written."""

    name: str
    digest: str
    """sha256 over what goes in: sources, annotations and image policy."""
    refs: tuple[SampleRef, ...]
    """Its faces, sorted by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """All shards of a dataset version."""

    dataset: str
    version: str
    protocol: LandmarkProtocol
    policy: ImagePolicy
    splits: dict[str, tuple[PlannedShard, ...]]
    subsets: dict[str, int]
    split_rule: str
    problems: tuple[str, ...]

    @property
    def shards(self) -> tuple[PlannedShard, ...]:
        """The shards of all splits, in order."""
        return tuple(shard for shards in self.splits.values() for shard in shards)

    @property
    def num_samples(self) -> int:
        """Faces in all splits."""
        return sum(len(shard.refs) for shard in self.shards)


def plan(
    dataset: Dataset,
    policy: ImagePolicy,
    *,
    samples_per_shard: int = 256,
    val_fraction: float = 0.05,
    progress: Progress | None = None,
) -> ShardPlan:
    """Plan the shards of a dataset; equal input gives an equal plan on every machine.

    Train faces are shuffled by a hash of their keys, so that every shard is a mixture; val and test keep their order.

    Args:
        dataset: The raw dataset.
        policy: How its images will be stored.
        samples_per_shard: Faces a shard; the last of a split has fewer.
        val_fraction: Share of train that becomes val, where the dataset has no val split.
        progress: Told of every face read.

    Raises:
        ConfigError: If a number is out of range.
        DataError: If the dataset is empty, or its keys are not legal and unique.
        AnnotationError: If a face cannot be read.
    """
    if samples_per_shard < 1 or not 0 <= val_fraction < 1:
        raise ConfigError(
            f"samples_per_shard is at least 1 and val_fraction in 0 … 1, got {samples_per_shard} and {val_fraction}"
        )
    refs, split_rule = split_train(_checked(dataset), val_fraction)
    digests = _sample_digests(dataset, refs, progress)
    head = json.dumps(
        [SCHEMA_VERSION, _WRITER, dataset.name, dataset.protocol.name, own_definition(dataset.protocol), asdict(policy)]
    )
    splits = {
        split: tuple(_shards(split, members, samples_per_shard, head, digests))
        for split, members in _by_split(refs).items()
    }
    shards = [[shard.name, shard.digest] for planned in splits.values() for shard in planned]
    subsets = Counter(name for ref in refs if ref.split == "test" for name in ref.subsets)
    return ShardPlan(
        dataset=dataset.name,
        version=_sha256(json.dumps([head, split_rule, tuple(dataset.problems), shards]))[:12],
        protocol=dataset.protocol,
        policy=policy,
        splits=splits,
        subsets=dict(sorted(subsets.items())),
        split_rule=split_rule,
        problems=tuple(dataset.problems),
    )


def split_train(refs: Sequence[SampleRef], val_fraction: float) -> tuple[list[SampleRef], str]:
    """Carve val out of train by whole groups, unless the dataset has a val split.

    Returns:
        All refs in their order, and the rule in words.
    """
    if any(ref.split == "val" for ref in refs):
        return list(refs), "val is the dataset's own"
    sizes = Counter(_group(ref) for ref in refs if ref.split == "train")
    wanted = math.ceil(val_fraction * sizes.total())
    chosen: set[str] = set()
    for group in sorted(sizes, key=lambda name: _sha256(f"val:{name}"))[:-1]:
        if sum(sizes[name] for name in chosen) >= wanted:
            break
        chosen.add(group)
    moved = [replace(ref, split="val") if ref.split == "train" and _group(ref) in chosen else ref for ref in refs]
    rule = (
        f"val is {val_fraction:g} of train: groups (faces of one photo) in the order of sha256('val:' + group), "
        "taken whole until there are enough"
    )
    return moved, rule


def sample_digest(sample: FaceSample) -> str:
    """sha256 over all of a face: image bytes, annotation, and what the index says of it."""
    ref = sample.ref
    said = [ref.key, ref.split, ref.subsets, ref.group, hashlib.sha256(sample.image).hexdigest()]
    seen = [sample.landmarks.tolist(), sample.visible.tolist(), list(sample.box), sample.attributes]
    return _sha256(json.dumps([said, seen], sort_keys=True))


def _checked(dataset: Dataset) -> Sequence[SampleRef]:
    refs = dataset.index()
    if not refs:
        raise DataError(f"dataset {dataset.name!r} has no faces")
    times = Counter(ref.key for ref in refs)
    for ref in refs:
        if not _KEY.fullmatch(ref.key) or times[ref.key] > 1 or ref.split not in _SPLITS:
            raise DataError(
                f"dataset {dataset.name!r}, {ref.locator}: a key is unique and of at most 95 letters, digits, '_' and "
                f"'-', a split one of {_SPLITS}; got {ref.key!r} ({times[ref.key]} times) in {ref.split!r}"
            )
    return refs


def _sample_digests(dataset: Dataset, refs: Sequence[SampleRef], progress: Progress | None) -> dict[str, str]:
    digests = {}
    for done, ref in enumerate(refs, start=1):
        digests[ref.key] = sample_digest(dataset.read(ref))
        if progress:
            progress("read", done, len(refs))
    return digests


def _by_split(refs: Sequence[SampleRef]) -> dict[str, list[SampleRef]]:
    members = {split: [ref for ref in refs if ref.split == split] for split in _SPLITS}
    members["train"].sort(key=lambda ref: _sha256(f"order:{ref.key}"))
    return {split: found for split, found in members.items() if found}


def _shards(split: str, refs: Sequence[SampleRef], size: int, head: str, digests: dict[str, str]) -> list[PlannedShard]:
    shards = []
    for number, start in enumerate(range(0, len(refs), size)):
        members = tuple(sorted(refs[start : start + size], key=lambda ref: ref.key))
        digest = _sha256(json.dumps([head, [digests[ref.key] for ref in members]]))
        shards.append(PlannedShard(name=f"{split}-{number:06d}.tar", digest=digest, refs=members))
    return shards


def _group(ref: SampleRef) -> str:
    return ref.group or ref.key


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
