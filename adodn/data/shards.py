"""Writes a dataset to S3 as WebDataset shards and a manifest. Reading faces back is the loader's work.

    uri, manifest = shard_dataset(datasets.open("300w", root), store, settings.get().datasets_uri, ImagePolicy())
    manifest = read_manifest(store, uri)

A shard is an object of its own and never overwritten; the manifest is written last. So a run that was cut leaves no
dataset behind, and the next one goes on where it ended.
"""

import hashlib
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed

from adodn.data.crop import stored_face
from adodn.data.examination import Progress, face_digest
from adodn.data.manifest import ImagePolicy, Manifest, ShardEntry
from adodn.data.plan import PlannedShard, ShardPlan, plan
from adodn.data.quarantine import BadBudget
from adodn.data.store import S3Store
from adodn.data.tarballs import build_tar
from adodn.errors import AnnotationError, ManifestError, StorageError
from adodn.protocols import own_definition
from adodn.samples import Dataset

MANIFEST = "manifest.json"


def shard_dataset(
    dataset: Dataset,
    store: S3Store,
    base_uri: str,
    policy: ImagePolicy,
    *,
    exclude: Mapping[str, str] | None = None,
    max_bad: BadBudget | None = None,
    threads: int = 4,
    progress: Progress | None = None,
) -> tuple[str, Manifest]:
    """Plan a dataset and publish it.

    Args:
        dataset: The raw dataset.
        store: Where to write.
        base_uri: Folder of all datasets, e.g. `s3://adodn/datasets`.
        policy: How images are stored.
        exclude: Faces to leave out, key → reason.
        max_bad: How many faces that cannot be read or stored may be left out as well; by default none.
        threads: How many faces are read, and how many shards are made, at a time.
        progress: Told of faces read and faces written.

    Returns:
        The manifest's address, and the manifest.

    Raises:
        ConfigError: If `exclude` names a face that the dataset has not.
        AnnotationError: If more faces than `max_bad` cannot be read or stored; then nothing is written.
        ManifestError: If this version is already published and differs.
        StorageError: If the store refuses.
    """
    store.check(base_uri)
    shard_plan = plan(dataset, policy, exclude=exclude, max_bad=max_bad, threads=threads, progress=progress)
    return publish(dataset, store, base_uri, shard_plan, threads=threads, progress=progress)


def publish(
    dataset: Dataset,
    store: S3Store,
    base_uri: str,
    shard_plan: ShardPlan,
    *,
    threads: int = 4,
    progress: Progress | None = None,
) -> tuple[str, Manifest]:
    """Write what was planned to `base_uri/NAME/VERSION/`; does nothing for what is already there.

    Several runs of the same plan, on any machines, share the work: each begins at a shard of its own and leaves out
    those that are in the store when it comes to them. As many shards as threads are in memory at a time.

    Args:
        dataset: The raw dataset.
        store: Where to write.
        base_uri: Folder of all datasets.
        shard_plan: What `plan` made of the dataset.
        threads: How many shards are made and uploaded at a time.
        progress: Told of faces written.

    Returns:
        The manifest's address, and the manifest.

    Raises:
        AnnotationError: If a face is not what it was when it was planned; then no manifest is written.
        ManifestError: If this version is already published and differs.
        StorageError: If the store refuses.
    """
    folder = version_uri(base_uri, shard_plan)
    entries: dict[str, ShardEntry] = {}
    done = 0
    pool = ThreadPoolExecutor(threads)
    try:
        work = [
            pool.submit(publish_shard, dataset, store, folder, shard, shard_plan.policy)
            for shard in own_order(shard_plan)
        ]
        for future in as_completed(work):
            entry = future.result()
            entries[entry.name] = entry
            done += entry.samples
            if progress:
                progress("write", done, shard_plan.num_samples)
    finally:
        pool.shutdown(cancel_futures=True)
    return publish_manifest(store, folder, shard_plan, entries)


def own_order(shard_plan: ShardPlan) -> tuple[PlannedShard, ...]:
    """All shards, beginning at another one in every run: runs at the same time do not make the same ones."""
    first = random.randrange(len(shard_plan.shards))
    return shard_plan.shards[first:] + shard_plan.shards[:first]


def version_uri(base_uri: str, shard_plan: ShardPlan) -> str:
    """The folder of a planned dataset version."""
    return f"{base_uri.rstrip('/')}/{shard_plan.dataset}/{shard_plan.version}"


def find_shard(store: S3Store, folder: str, shard: PlannedShard) -> ShardEntry | None:
    """The planned shard as it lies in the store, or None.

    Raises:
        StorageError: If another object has its address.
    """
    uri = f"{folder}/{shard.name}"
    found = store.head(uri)
    if found is None:
        return None
    if found.metadata.get("plan") != shard.digest or "sha256" not in found.metadata:
        raise StorageError(f"{uri}: is not the shard that was planned there; delete it, then shard again")
    return ShardEntry(name=shard.name, bytes=found.bytes, sha256=found.metadata["sha256"], samples=len(shard.faces))


def publish_shard(
    dataset: Dataset, store: S3Store, folder: str, shard: PlannedShard, policy: ImagePolicy
) -> ShardEntry:
    """Build one shard and put it in the store, unless it is there.

    Raises:
        AnnotationError: If a face cannot be read, or is not what it was when it was planned.
        StorageError: If the store refuses, or does not hold afterwards what was written.
    """
    found = find_shard(store, folder, shard)
    if found is not None:
        return found
    data = build_shard(dataset, shard, policy)
    entry = ShardEntry(
        name=shard.name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), samples=len(shard.faces)
    )
    store.put(f"{folder}/{shard.name}", data, if_absent=True, metadata={"plan": shard.digest, "sha256": entry.sha256})
    _confirm(store, folder, shard, entry)
    return entry


def build_shard(dataset: Dataset, shard: PlannedShard, policy: ImagePolicy) -> bytes:
    """The tar of one shard: `<key>.jpg`, then `<key>.json`, in the order of the keys.

    Raises:
        AnnotationError: If a face cannot be read, or is not what it was when it was planned.
    """
    members: list[tuple[str, bytes]] = []
    for face in shard.faces:
        sample = dataset.read(face.ref)
        jpeg, record = stored_face(sample, policy, keeps_bytes=face.keeps_bytes)
        if face_digest(sample, record.image_sha256) != face.digest:
            raise AnnotationError(
                f"{face.ref.locator}: face {face.ref.key!r} is no longer what it was when shard {shard.name} was "
                "planned; let nobody write to the dataset, then shard again"
            )
        members += [(f"{face.ref.key}.jpg", jpeg), (f"{face.ref.key}.json", record.to_json().encode())]
    return build_tar(members)


def publish_manifest(
    store: S3Store, folder: str, shard_plan: ShardPlan, entries: Mapping[str, ShardEntry]
) -> tuple[str, Manifest]:
    """Write the manifest, by which the dataset becomes visible, once all its shards are seen to be in the store.

    A manifest that is there and equal is fine.

    Returns:
        The manifest's address, and the manifest.

    Raises:
        ManifestError: If another manifest is there.
        StorageError: If a shard is not in the store as `entries` has it.
    """
    for shard in shard_plan.shards:
        _confirm(store, folder, shard, entries[shard.name])
    manifest = Manifest(
        dataset=shard_plan.dataset,
        version=shard_plan.version,
        protocol=shard_plan.protocol.name,
        protocol_definition=own_definition(shard_plan.protocol),
        image_policy=shard_plan.policy,
        splits={split: tuple(entries[s.name] for s in shards) for split, shards in shard_plan.splits.items()},
        subsets=shard_plan.subsets,
        split_rule=shard_plan.split_rule,
        problems=shard_plan.problems,
        excluded=shard_plan.excluded,
        quarantined=shard_plan.quarantined,
    )
    uri = f"{folder}/{MANIFEST}"
    if not store.put(uri, manifest.to_json().encode(), if_absent=True):
        published = read_manifest(store, uri)
        if published.digest != manifest.digest:
            raise ManifestError(
                f"{uri}: is published with digest {published.digest[:12]} and never changes, "
                f"but its shards now give {manifest.digest[:12]}; restore the shards it names"
            )
    return uri, manifest


def read_manifest(store: S3Store, uri: str) -> Manifest:
    """Read a manifest.

    Args:
        store: Where it lies.
        uri: Its address, or that of its folder.

    Raises:
        ManifestError: If there is none, or it is not one.
    """
    address = uri if uri.endswith(f"/{MANIFEST}") else f"{uri.rstrip('/')}/{MANIFEST}"
    if not store.exists(address):
        raise ManifestError(f"{address}: no manifest here, so no whole dataset; shard it first, or correct the address")
    return Manifest.from_json(store.get(address), where=address)


def _confirm(store: S3Store, folder: str, shard: PlannedShard, entry: ShardEntry) -> None:
    if find_shard(store, folder, shard) != entry:
        raise StorageError(
            f"{folder}/{shard.name}: the store does not hold the {entry.bytes} bytes with sha256 {entry.sha256[:12]} "
            "that were made; delete it, then shard again"
        )
