"""Decides which face goes into which shard, before any shard is written. It reads every face once and keeps none.

shard_plan = plan(datasets.open("300w", root), ImagePolicy())
shard_plan.version        # the same for equal input, another for anything changed
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from adodn.data.examination import ExaminedFace, Progress, examine_all
from adodn.data.manifest import SCHEMA_VERSION, ImagePolicy
from adodn.data.quarantine import BadBudget
from adodn.data.splitting import split_train
from adodn.data.tarballs import member_bytes
from adodn.errors import ConfigError, DataError
from adodn.protocols import LandmarkProtocol, own_definition
from adodn.samples import Dataset, SampleRef

_WRITER = 2
"""Raised when the same faces would be written as other bytes."""
_SPLITS = ("train", "val", "test")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,94}")
_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFace:
    """One face of a shard, and what its bytes were when it was planned."""

    ref: SampleRef
    digest: str
    keeps_bytes: bool
    """Whether its image is stored as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedShard:
    """One shard to be written."""

    name: str
    digest: str
    """sha256 over what goes in: sources, annotations and image policy."""
    faces: tuple[PlannedFace, ...]
    """Sorted by key."""
    estimated_bytes: int

    @property
    def refs(self) -> tuple[SampleRef, ...]:
        """Its faces, sorted by key."""
        return tuple(face.ref for face in self.faces)


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
    excluded: dict[str, str] = field(default_factory=dict)
    """Key → reason, as it was asked for."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Key → why the face cannot be read or stored."""

    @property
    def shards(self) -> tuple[PlannedShard, ...]:
        """The shards of all splits, in order."""
        return tuple(shard for shards in self.splits.values() for shard in shards)

    @property
    def num_samples(self) -> int:
        """Faces in all splits."""
        return sum(len(shard.faces) for shard in self.shards)


def plan(
    dataset: Dataset,
    policy: ImagePolicy,
    *,
    samples_per_shard: int = 256,
    val_fraction: float = 0.05,
    exclude: Mapping[str, str] | None = None,
    max_bad: BadBudget | None = None,
    threads: int = 4,
    progress: Progress | None = None,
) -> ShardPlan:
    """Plan the shards of a dataset; equal input gives an equal plan on every machine, with any number of threads.

    Train faces are shuffled by a hash of their groups, so that every shard is a mixture; val and test keep their order.
    Every image is decoded, so that bad faces are known before a shard is cut. A subset of which faces are left out goes
    on under a name that says so, because its figures are not the published ones.

    Args:
        dataset: The raw dataset.
        policy: How its images will be stored.
        samples_per_shard: Faces a shard; the last of a split has fewer.
        val_fraction: Share of train that becomes val, where the dataset has no val split.
        exclude: Faces to leave out, key → reason.
        max_bad: How many faces that cannot be read or stored may be left out as well; by default none.
        threads: How many faces are read at a time.
        progress: Told of faces read.

    Raises:
        ConfigError: If a number is out of range, or `exclude` names a face that the dataset has not.
        DataError: If the dataset is empty, no face is left, or its keys are not legal and unique.
        AnnotationError: If more faces than `max_bad` cannot be read or stored.
    """
    if samples_per_shard < 1 or not 0 <= val_fraction < 1 or threads < 1:
        raise ConfigError(
            f"samples_per_shard and threads are at least 1 and val_fraction in 0 … 1, got {samples_per_shard}, "
            f"{threads} and {val_fraction}"
        )
    listed = dataset.index()
    excluded = _known(exclude or {}, listed, dataset.name)
    wanted = _checked([ref for ref in listed if ref.key not in excluded], dataset.name)
    good, bad = examine_all(dataset, wanted, policy, threads=threads, progress=progress)
    (max_bad or BadBudget()).require(bad, num_faces=len(wanted), dataset=dataset.name)
    if not good:
        raise DataError(f"dataset {dataset.name!r} has no faces left: {len(excluded)} excluded, {len(bad)} quarantined")
    kept, renamed = _honest_subsets(listed, good)
    refs, split_rule = split_train(kept, val_fraction)
    head = json.dumps(
        [SCHEMA_VERSION, _WRITER, dataset.name, dataset.protocol.name, own_definition(dataset.protocol), asdict(policy)]
    )
    splits = _splits(refs, samples_per_shard, head, good)
    problems = (*dataset.problems, *renamed)
    return ShardPlan(
        dataset=dataset.name,
        version=_version(head, split_rule, problems, splits, excluded, bad),
        protocol=dataset.protocol,
        policy=policy,
        splits=splits,
        subsets=_test_subsets(refs),
        split_rule=split_rule,
        problems=problems,
        excluded=excluded,
        quarantined=bad,
    )


def _version(
    head: str,
    split_rule: str,
    problems: Sequence[str],
    splits: Mapping[str, Sequence[PlannedShard]],
    *left_out: Mapping[str, str],
) -> str:
    shards = [[shard.name, shard.digest] for planned in splits.values() for shard in planned]
    return _sha256(json.dumps([head, split_rule, problems, shards, left_out], sort_keys=True))[:12]


def _test_subsets(refs: Sequence[SampleRef]) -> dict[str, int]:
    return dict(sorted(Counter(name for ref in refs if ref.split == "test" for name in ref.subsets).items()))


def check_ref(ref: SampleRef, times: int, dataset: str) -> None:
    """Check the key and split of a face.

    Args:
        ref: The face.
        times: How many faces of the dataset have its key.
        dataset: Its name, for messages.

    Raises:
        DataError: If the key is not legal and unique, or there is no such split.
    """
    if not _KEY.fullmatch(ref.key) or times > 1 or ref.split not in _SPLITS:
        raise DataError(
            f"dataset {dataset!r}, {ref.locator}: a key is unique and of at most 95 letters, digits, '_' and '-', a "
            f"split one of {_SPLITS}; got {ref.key!r} ({times} times) in {ref.split!r}"
        )


def _checked(refs: Sequence[SampleRef], dataset: str) -> Sequence[SampleRef]:
    if not refs:
        raise DataError(f"dataset {dataset!r} has no faces")
    times = Counter(ref.key for ref in refs)
    for ref in refs:
        check_ref(ref, times[ref.key], dataset)
    return refs


def _known(exclude: Mapping[str, str], refs: Sequence[SampleRef], dataset: str) -> dict[str, str]:
    unknown = sorted(set(exclude) - {ref.key for ref in refs})
    if unknown:
        named = ", ".join(map(repr, unknown[:_NAMED])) + (", …" if len(unknown) > _NAMED else "")
        raise ConfigError(
            f"{len(unknown)} of {len(exclude)} faces to exclude are not in dataset {dataset!r}: {named}; "
            "take them off the list, or take the list that was made for this dataset"
        )
    return dict(sorted(exclude.items()))


def _honest_subsets(
    listed: Sequence[SampleRef], good: Mapping[str, ExaminedFace]
) -> tuple[list[SampleRef], tuple[str, ...]]:
    """The faces that are left, in subsets that are named for what they lack, and a sentence on each of those."""
    sizes = Counter(name for ref in listed for name in ref.subsets)
    lost = Counter(name for ref in listed if ref.key not in good for name in ref.subsets)
    named = {name: f"{name}_minus{lost[name]}" if lost[name] else name for name in sizes}
    kept = [ref for ref in listed if ref.key in good]
    if lost:
        kept = [replace(ref, subsets=tuple(named[name] for name in ref.subsets)) for ref in kept]
    sentences = (
        f"subset {name!r} lacks {count} of its {sizes[name]} faces, which were left out, and is called {named[name]!r}"
        for name, count in sorted(lost.items())
    )
    return kept, tuple(sentences)


def _splits(
    refs: Sequence[SampleRef], size: int, head: str, good: Mapping[str, ExaminedFace]
) -> dict[str, tuple[PlannedShard, ...]]:
    members = {split: [ref for ref in refs if ref.split == split] for split in _SPLITS}
    # By groups, so that a video's frames are decoded one after another; the loader shuffles over many shards.
    members["train"].sort(key=lambda ref: (_sha256(f"order:{ref.group or ref.key}"), ref.key))
    return {
        split: tuple(
            _shard(f"{split}-{number:06d}.tar", found[start : start + size], head, good)
            for number, start in enumerate(range(0, len(found), size))
        )
        for split, found in members.items()
        if found
    }


def _shard(name: str, refs: Sequence[SampleRef], head: str, good: Mapping[str, ExaminedFace]) -> PlannedShard:
    members = [(ref, good[ref.key]) for ref in sorted(refs, key=lambda ref: ref.key)]
    contents = [[ref.key, ref.subsets, ref.group, face.digest] for ref, face in members]
    return PlannedShard(
        name=name,
        digest=_sha256(json.dumps([head, contents])),
        faces=tuple(PlannedFace(ref=ref, digest=face.digest, keeps_bytes=face.keeps_bytes) for ref, face in members),
        estimated_bytes=sum(_estimated_bytes(face) for _, face in members),
    )


def _estimated_bytes(face: ExaminedFace) -> int:
    return member_bytes(face.image_bytes) + member_bytes(350 + 45 * face.num_landmarks)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
