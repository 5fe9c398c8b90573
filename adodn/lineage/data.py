"""The steps from an experiment to the photos: weights it started from, datasets, shards, source images.

for link in data_links(config, run.datasets, store, places, read=True): ...
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from adodn.config import ExperimentConfig
from adodn.data.cache import CachedShard
from adodn.data.manifest import FaceRecord, Manifest, ShardEntry
from adodn.data.shards import MANIFEST, read_manifest
from adodn.data.store import S3Store
from adodn.errors import CheckpointError, ManifestError, ShardError, StorageError
from adodn.lineage.links import Link, State, broken, unverified, verified
from adodn.settings import Settings
from adodn.tracking import DatasetRef
from adodn.train.initial import get_by_digest

_SHOWN = 8
"""Shards and photos that people are shown; machines get all."""
_THREADS = 4

Progress = Callable[[str, int, int], None]
"""Called with the stage, what is done and what there is in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Face:
    """A face in a shard, and the image file that it was cut from."""

    key: str
    shard: str
    image_sha256: str
    kept: bool
    """Whether the shard has that very file."""
    record: FaceRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """A shard, and how it was found."""

    entry: ShardEntry
    split: str
    state: State
    why: str
    faces: tuple[_Face, ...] = ()


def start_links(config: ExperimentConfig, store: S3Store, places: Settings) -> Iterator[Link]:
    """Files that a training began with, each named by its sha256 in the config."""
    wanted = (
        ("weights of the trunk", places.weights_uri, config.model.initial_weights),
        ("a whole model", places.weights_uri, config.train.initial_model),
        ("patterns of occlusion", places.patterns_uri, config.data.augment.occlusion_patterns),
    )
    for what, folder, sha256 in wanted:
        if not sha256:
            continue
        subject, uri = f"{what} with sha256 {sha256}", f"{folder}/{sha256}"
        try:
            get_by_digest(store, uri)
        except CheckpointError as error:
            yield broken("start", subject, str(error), {"uri": uri})
        except StorageError as error:
            yield unverified("start", subject, str(error), {"uri": uri})
        else:
            yield verified("start", subject, f"{uri} has it", {"uri": uri})


def dataset_links(
    digest: str,
    refs: Sequence[DatasetRef],
    store: S3Store,
    *,
    read: bool,
    source: str = "",
    progress: Progress | None = None,
) -> list[Link]:
    """A dataset of the training, its shards, and their source images.

    Args:
        digest: Of its manifest, as the config has it.
        refs: What the run says that it was trained on; it knows the addresses.
        store: Where datasets lie.
        read: Read every shard to its last byte.
        source: Key of a face, or sha256 of a photo, to be looked for.
        progress: Told of shards checked.
    """
    ref = next((ref for ref in refs if ref.digest and digest.startswith(ref.digest)), None)
    if ref is None and refs:
        named = ", ".join(f"{ref.name} {ref.digest}" for ref in refs)
        why = f"the run says that it was trained on {named}, the config on {digest}"
        return [broken("dataset", f"digest {digest}", why, {"digest": digest})]
    if ref is None:
        why = "the run that knows its address is not at hand, or names no dataset"
        return [unverified("dataset", f"digest {digest}", why, {"digest": digest})]
    subject = f"{ref.name}, digest {digest}"
    facts: dict[str, object] = {"digest": digest, "name": ref.name, "manifest": ref.uri}
    try:
        manifest = read_manifest(store, ref.uri)
    except ManifestError as error:
        return [broken("dataset", subject, str(error), facts)]
    except StorageError as error:
        return [unverified("dataset", subject, str(error), facts)]
    if manifest.digest != digest:
        why = f"{ref.uri} has digest {manifest.digest}: it is not what was trained on"
        return [broken("dataset", subject, why, facts)]
    facts |= {"faces": {split: manifest.num_samples(split) for split in manifest.splits}}
    facts |= {name: getattr(manifest, name) for name in ("version", "protocol", "split_rule", "problems", "excluded")}
    link = verified("dataset", subject, f"computed anew from {ref.uri}", facts)
    folder = ref.uri.removesuffix(f"/{MANIFEST}").rstrip("/")
    checked = _check(manifest, folder, store, read=read, progress=progress)
    return [link, _shards(checked), *_sources(checked, manifest, source, read=read)]


def _check(manifest: Manifest, folder: str, store: S3Store, *, read: bool, progress: Progress | None) -> list[_Checked]:
    wanted = [(split, entry) for split, entries in manifest.splits.items() for entry in entries]
    look = _read if read else _ask
    checked: list[_Checked] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for one in pool.map(lambda pair: look(store, folder, *pair), wanted):
            checked.append(one)
            if progress:
                progress("check shards", len(checked), len(wanted))
    return checked


def _ask(store: S3Store, folder: str, split: str, entry: ShardEntry) -> _Checked:
    """What the store says of a shard without sending it."""
    uri = f"{folder}/{entry.name}"
    try:
        found = store.head(uri)
    except StorageError as error:
        return _Checked(entry=entry, split=split, state="not verifiable here", why=str(error))
    if found is None:
        return _Checked(entry=entry, split=split, state="broken", why=f"{uri} is missing")
    said = found.metadata.get("sha256", entry.sha256)
    if (found.bytes, said) != (entry.bytes, entry.sha256):
        why = (
            f"{uri} must have {entry.bytes} bytes with sha256 {entry.sha256}, the store says {found.bytes} with {said}"
        )
        return _Checked(entry=entry, split=split, state="broken", why=why)
    return _Checked(entry=entry, split=split, state="not verifiable here", why="it was not read")


def _read(store: S3Store, folder: str, split: str, entry: ShardEntry) -> _Checked:
    uri = f"{folder}/{entry.name}"
    try:
        if not store.exists(uri):
            return _Checked(entry=entry, split=split, state="broken", why=f"{uri} is missing")
        content = store.get(uri)
    except StorageError as error:
        return _Checked(entry=entry, split=split, state="not verifiable here", why=str(error))
    actual = hashlib.sha256(content).hexdigest()
    if actual != entry.sha256:
        why = f"{uri}: sha256 must be {entry.sha256}, got {actual}"
        return _Checked(entry=entry, split=split, state="broken", why=why)
    try:
        faces = tuple(_faces(content, uri, entry))
    except ShardError as error:
        return _Checked(entry=entry, split=split, state="broken", why=str(error))
    return _Checked(entry=entry, split=split, state="verified", why="read to its last byte", faces=faces)


def _faces(content: bytes, uri: str, entry: ShardEntry) -> Iterator[_Face]:
    shard = CachedShard(content, uri=uri, num_samples=entry.samples)
    for position, spans in enumerate(shard.faces):
        record = FaceRecord.from_json(shard.record(position), f"{uri}: {spans.key}")
        stored = hashlib.sha256(shard.image(position)).hexdigest()
        yield _Face(
            key=spans.key,
            shard=entry.name,
            image_sha256=record.image_sha256,
            kept=stored == record.image_sha256,
            record=record,
        )


def _shards(checked: Sequence[_Checked]) -> Link:
    subject = f"{len(checked)} with {sum(one.entry.samples for one in checked)} faces"
    lines = tuple(f"{one.entry.sha256}  {one.split}/{one.entry.name}" for one in checked[:_SHOWN])
    if len(checked) > _SHOWN:
        lines += (f"and {len(checked) - _SHOWN} more, which --json lists",)
    facts = [{"split": one.split, "state": one.state, "why": one.why, **asdict(one.entry)} for one in checked]
    wrong = [one for one in checked if one.state == "broken"]
    unread = [one for one in checked if one.state == "not verifiable here"]
    if wrong:
        why = f"{len(wrong)} of {len(checked)}: {'; '.join(one.why for one in wrong[:_SHOWN])}"
        return broken("shards", subject, why, {"shards": facts}, lines=lines)
    if not unread:
        return verified("shards", subject, "each was read and has its sha256", {"shards": facts}, lines=lines)
    if all(one.why == unread[0].why == "it was not read" for one in unread):
        why = "their bytes were not read; the store has all of them, with size and sha256 as they were published"
    else:
        why = f"{len(unread)} of {len(checked)}: {unread[0].why}"
    return unverified("shards", subject, why, {"shards": facts}, lines=lines)


def _sources(checked: Sequence[_Checked], manifest: Manifest, wanted: str, *, read: bool) -> list[Link]:
    if not read:
        why = "their sha256 are in the shards, which were not read"
        return [unverified("sources", f"images of {sum(one.entry.samples for one in checked)} faces", why)]
    faces = [face for one in checked for face in one.faces]
    links = [_all_sources(faces)]
    return [*links, _one_source(faces, manifest, wanted)] if wanted else links


def _all_sources(faces: Sequence[_Face]) -> Link:
    files = {face.image_sha256 for face in faces if face.image_sha256}
    kept = {face.image_sha256 for face in faces if face.kept}
    subject = f"{len(files)} image files of {len(faces)} faces"
    lines = tuple(f"{face.image_sha256 or 'no sha256 on record'}  {face.key}" for face in faces[:_SHOWN])
    if len(faces) > _SHOWN:
        lines += (f"and {len(faces) - _SHOWN} more, which --json lists and --source NAME finds",)
    facts = [{"key": face.key, "image_sha256": face.image_sha256, "shard": face.shard} for face in faces]
    if all(face.kept for face in faces):
        return verified("sources", subject, "the shards hold each, byte for byte", {"sources": facts}, lines=lines)
    why = f"the shards hold {len(kept)} byte for byte; the others were cut from originals: compare sha256sum of those"
    return unverified("sources", subject, why, {"sources": facts}, lines=lines)


def _one_source(faces: Sequence[_Face], manifest: Manifest, wanted: str) -> Link:
    found = [face for face in faces if wanted in (face.key, face.image_sha256)]
    if not found:
        left_out = {**manifest.excluded, **manifest.quarantined}
        why = f"left out of {manifest.dataset}: {left_out[wanted]}" if wanted in left_out else ""
        return broken("source", wanted, why or f"no face of {manifest.dataset} has that key, and no image that sha256")
    face = found[0]
    lines = tuple(f"{one.image_sha256}  {one.shard}: {one.key}" for one in found)
    facts = [{"shard": one.shard, "kept": one.kept, **asdict(one.record)} for one in found]
    if all(one.kept for one in found):
        return verified("source", wanted, f"{face.shard} holds the file byte for byte", {"faces": facts}, lines=lines)
    why = f"{face.shard} holds what was cut from it; compare sha256sum of the original"
    return unverified("source", wanted, why, {"faces": facts}, lines=lines)
