"""What sharding would write, without writing it: for a look before the work.

    shown = preview(store, settings.get().datasets_uri, plan(dataset, ImagePolicy()))
    shown.splits["train"].in_store      # shards that are there already

The store is only asked; where it does not answer, the preview says so and holds what the plan knows.
"""

from dataclasses import dataclass, replace

from adodn.data.plan import PlannedShard, ShardPlan
from adodn.data.shards import MANIFEST, find_shard, version_uri
from adodn.data.store import S3Store
from adodn.errors import StorageError


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPreview:
    """One split as it would be."""

    faces: int
    shards: int
    megabytes: float
    """Estimated."""
    in_store: tuple[str, ...]
    """Shards that would not be written again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """A dataset version as it would be."""

    manifest: str
    """Its address."""
    version: str
    published: bool
    """Whether the manifest is in the store already."""
    store_problem: str
    """Why the store could not be asked; empty where it could."""
    splits: dict[str, SplitPreview]
    subsets: dict[str, int]
    split_rule: str
    problems: tuple[str, ...]
    excluded: dict[str, str]
    quarantined: dict[str, str]


def preview(store: S3Store, base_uri: str, shard_plan: ShardPlan) -> Preview:
    """Look what a plan would write, and what of it is there.

    Args:
        store: Is asked once, not again and again, and never written to.
        base_uri: Folder of all datasets.
        shard_plan: The plan.
    """
    asked, problem, present, published = replace(store, attempts=1), "", set[str](), False
    folder = version_uri(base_uri, shard_plan)
    try:
        present = {shard.name for shard in shard_plan.shards if find_shard(asked, folder, shard)}
        published = asked.exists(f"{folder}/{MANIFEST}")
    except StorageError as error:
        problem = str(error)
    return Preview(
        manifest=f"{folder}/{MANIFEST}",
        version=shard_plan.version,
        published=published,
        store_problem=problem,
        splits={split: _split(shards, present) for split, shards in shard_plan.splits.items()},
        subsets=shard_plan.subsets,
        split_rule=shard_plan.split_rule,
        problems=shard_plan.problems,
        excluded=shard_plan.excluded,
        quarantined=shard_plan.quarantined,
    )


def _split(shards: tuple[PlannedShard, ...], present: set[str]) -> SplitPreview:
    return SplitPreview(
        faces=sum(len(shard.faces) for shard in shards),
        shards=len(shards),
        megabytes=sum(shard.estimated_bytes for shard in shards) / 1e6,
        in_store=tuple(shard.name for shard in shards if shard.name in present),
    )
