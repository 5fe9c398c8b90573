"""From shards to batches: the same faces in the same order for any number of ranks, resumable at any step.

Decodes, crops and augments; knows nothing of models or of how ranks talk.

    loader = ShardLoader(manifest=manifest, base_uri=uri, source=store, cache=cache, split="train",
                         protocol=protocols.get("68"), data=config.data, input_px=224, global_batch=32, train=True)
    for batch in loader:          # one epoch; the next loop is the next epoch
        ...
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from adodn.config import AugmentConfig, DataConfig
from adodn.data import transforms
from adodn.data.cache import ShardCache, ShardSource
from adodn.data.images import MAX_PIXELS
from adodn.data.manifest import FaceRecord, Manifest
from adodn.data.partition import BatchPlan, GlobalBatches, num_steps, require_share
from adodn.errors import CheckpointError, ConfigError, ShardError
from adodn.occlusion.occluder import Occluder
from adodn.occlusion.patterns import Patterns
from adodn.protocols import LandmarkProtocol
from adodn.samples import Batch

_DOWNLOADS_AT_ONCE = 2


@dataclass(frozen=True, slots=True, eq=False)
class StoredFace:
    """One face as its shard holds it, decoded."""

    image: transforms.Image
    """`[H, W, 3]`, RGB."""
    landmarks: NDArray[np.float64]
    """`[L, 2]`, pixels of the stored image."""
    record: FaceRecord


class FaceReader:
    """Random access to the faces of one split, by their place in the manifest's order. Usable from several threads.

    Args:
        manifest: The dataset.
        base_uri: The folder of its shards, e.g. `s3://bucket/datasets/300w/1`.
        source: Where shards come from.
        cache: Where they are kept on this machine.
        split: Which faces.
        protocol: The dataset's landmark protocol.

    Raises:
        ConfigError: If the split has no faces, or the dataset has another protocol.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        base_uri: str,
        source: ShardSource,
        cache: ShardCache,
        split: str,
        protocol: LandmarkProtocol,
    ) -> None:
        self._entries = manifest.splits.get(split, ())
        if not self._entries:
            having = ", ".join(sorted(name for name, shards in manifest.splits.items() if shards)) or "none"
            raise ConfigError(f"split {split!r} of {manifest.dataset}/{manifest.version} has no faces; it has {having}")
        if manifest.protocol != protocol.name:
            raise ConfigError(
                f"dataset {manifest.dataset}/{manifest.version} has protocol {manifest.protocol!r}, asked for "
                f"{protocol.name!r}; choose a recipe for its protocol"
            )
        self._ends = np.cumsum([entry.samples for entry in self._entries])
        self._base_uri, self._source, self._cache, self._protocol = base_uri.rstrip("/"), source, cache, protocol

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, index: int) -> StoredFace:
        """Read and decode one face.

        Raises:
            ShardError: If its shard, record or image is damaged.
            StorageError: If its shard is not here and the store does not answer.
        """
        number, position = self._locate(index)
        shard = self._cache.open(self._entries[number], uri=self._uri(number), source=self._source)
        image, text = shard.read(position)
        where = f"{shard.uri}!{shard.faces[position].key}"
        record = _record(text, where, shard.faces[position].key, self._protocol.num_landmarks)
        return StoredFace(_decode(image, where), np.array(record.landmarks), record)

    def fetches(self, indices: NDArray[np.int64]) -> Iterator[Callable[[], object]]:
        """Jobs that bring the shards of some faces to this machine, in the order of need; none for those open here."""
        numbers = np.searchsorted(self._ends, indices, side="right")
        needed, first = np.unique(numbers, return_index=True)
        for number in needed[np.argsort(first)].tolist():
            if not self._cache.is_open(self._entries[number]):
                yield partial(self._cache.open, self._entries[number], uri=self._uri(number), source=self._source)

    def _locate(self, index: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - (int(self._ends[number - 1]) if number else 0)

    def _uri(self, number: int) -> str:
        return f"{self._base_uri}/{self._entries[number].name}"


class ShardLoader:
    """Batches of one split, on one rank.

    Training shuffles by (seed, epoch), augments by (seed, epoch, face), and leaves out what does not fill a last batch.
    Evaluation keeps the manifest's order, augments nothing, and fills the last batch with faces marked `is_padding`.

    Args:
        manifest: The dataset.
        base_uri: The folder of its shards.
        source: Where shards come from.
        cache: Where they are kept on this machine; loaders may share one.
        split: Which faces.
        protocol: The dataset's landmark protocol.
        data: How faces are cropped and augmented.
        input_px: Side of the crops.
        global_batch: Faces in a batch, over all ranks.
        rank: This rank.
        world_size: Number of ranks.
        seed: Seed of the experiment.
        train: Whether to shuffle and augment.
        num_threads: Threads that prepare batches.
        prefetch: Batches kept ready ahead of the consumer.
        patterns: What the occluder `pattern` draws from.

    Raises:
        ConfigError: If the split has no faces, the batch cannot be shared, the dataset is not the one `data` names, or
            training faces are to be covered by patterns and there are none.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        base_uri: str,
        source: ShardSource,
        cache: ShardCache,
        split: str,
        protocol: LandmarkProtocol,
        data: DataConfig,
        input_px: int,
        global_batch: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        train: bool,
        num_threads: int = 1,
        prefetch: int = 2,
        patterns: Patterns | None = None,
    ) -> None:
        require_share(global_batch, rank, world_size)
        self._dataset = manifest.digest
        if data.dataset not in ("", self._dataset):
            raise ConfigError(f"config is for dataset {data.dataset!r}, got {self._dataset!r}; open the one it names")
        self._faces = FaceReader(
            manifest, base_uri=base_uri, source=source, cache=cache, split=split, protocol=protocol
        )
        self._data, self._input_px, self._flip = data, input_px, np.array(protocol.flip)
        self._occluder = Occluder(protocol, data.augment if train else AugmentConfig(), patterns)
        self._global_batch, self._rank, self._world_size = global_batch, rank, world_size
        self._seed, self._train = seed, train
        self._num_threads, self._ahead = num_threads, prefetch + num_threads - 1
        self._epoch = self._step = 0

    @property
    def epoch(self) -> int:
        """The epoch that the next loop yields, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the current one goes on where it is, so that a resumed run may call this too."""
        if epoch != self._epoch:
            self._epoch, self._step = epoch, 0

    def state_dict(self) -> dict[str, int | str]:
        """How far the consumer has come, in batches handed out. The same on every rank, for any number of ranks."""
        return {
            "epoch": self._epoch,
            "step": self._step,
            "seed": self._seed,
            "dataset": self._dataset,
            "global_batch": self._global_batch,
        }

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Go on where a state was taken, on any number of ranks.

        Raises:
            CheckpointError: If it was taken with another dataset, seed or global batch, or its place does not exist.
        """
        own = self.state_dict()
        for name in ("dataset", "seed", "global_batch"):
            if state.get(name) != own[name]:
                raise CheckpointError(f"loader state has {name} {state.get(name)!r}, this loader {own[name]!r}")
        epoch, step = state.get("epoch"), state.get("step")
        if not (isinstance(epoch, int) and isinstance(step, int) and epoch >= 0 and 0 <= step <= len(self)):
            raise CheckpointError(
                f"loader state must have epoch >= 0 and step in 0 … {len(self)}, got epoch {epoch!r}, step {step!r}"
            )
        self._epoch, self._step = epoch, step

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return num_steps(len(self._faces), self._global_batch, train=self._train)

    def __iter__(self) -> Iterator[Batch]:
        # The batches are spread over our threads already; OpenCV's own would fight them for the same cores.
        cv2.setNumThreads(0)
        epoch = self._epoch
        plans = self._plans(epoch, self._step)
        indices = np.concatenate([plan.indices for plan in plans]) if plans else np.empty(0, np.int64)
        with (
            _workers(_DOWNLOADS_AT_ONCE, "adodn-fetch") as fetchers,
            _workers(self._num_threads, "adodn-prepare") as preparers,
        ):
            for fetch in self._faces.fetches(indices):
                fetchers.submit(fetch)
            jobs = (partial(self._batch, plan, epoch) for plan in plans)
            for step, batch in enumerate(_in_order(jobs, preparers, self._ahead), len(self) - len(plans) + 1):
                self._step = step
                yield batch
        self._epoch, self._step = epoch + 1, 0

    def _plans(self, epoch: int, start: int) -> list[BatchPlan]:
        batches = GlobalBatches(
            num_samples=len(self._faces),
            global_batch=self._global_batch,
            seed=self._seed,
            epoch=epoch,
            train=self._train,
        )
        return [batches[step].share(self._rank, self._world_size) for step in range(start, len(batches))]

    def _batch(self, plan: BatchPlan, epoch: int) -> Batch:
        faces = len(plan.indices)
        images = np.empty((faces, self._input_px, self._input_px, 3), np.uint8)
        rows = [self._row(index, epoch, images[place]) for place, index in enumerate(plan.indices.tolist())]
        return Batch(
            images=torch.from_numpy(images).permute(0, 3, 1, 2),
            landmarks=torch.from_numpy(np.stack([row.landmarks for row in rows]).astype(np.float32)),
            visible=torch.from_numpy(np.stack([row.visible for row in rows])),
            crop_to_image=torch.from_numpy(np.stack([row.crop_to_image for row in rows])),
            image_landmarks=torch.from_numpy(np.stack([row.image_landmarks for row in rows])),
            image_boxes=torch.from_numpy(np.stack([row.image_box for row in rows])),
            indices=torch.from_numpy(plan.indices.copy()),
            is_padding=torch.from_numpy(plan.is_padding.copy()),
            positions=torch.from_numpy(plan.positions.copy()),
            keys=[row.record.key for row in rows],
            subsets=[row.record.subsets for row in rows],
        )

    def _row(self, index: int, epoch: int, out: transforms.Image) -> "_Row":
        face = self._faces.read(index)
        record = face.record
        chosen = transforms.Augmentation()
        if self._train:
            chosen = transforms.draw_augmentation(self._data.augment, transforms.sample_draws(self._seed, epoch, index))
        affine = transforms.crop_affine(record.box, crop_scale=self._data.crop_scale, augmentation=chosen)
        landmarks = transforms.move(face.landmarks, transforms.invert(affine))
        visible = np.array(record.visible)
        if chosen.flip:
            landmarks, visible = landmarks[self._flip], visible[self._flip]
        transforms.warp(face.image, affine, out)
        if self._train:
            transforms.adjust_colours(out, chosen)
        if chosen.occlusion is not None:
            visible &= ~self._occluder.cover(out, landmarks, chosen.occlusion)
        onward = transforms.stored_to_image(np.eye(2, 3), record.stored_to_image)
        return _Row(
            record=record,
            landmarks=landmarks,
            visible=visible,
            crop_to_image=transforms.stored_to_image(affine, record.stored_to_image),
            image_landmarks=transforms.move(face.landmarks, onward),
            image_box=transforms.move(np.array(record.box).reshape(2, 2), onward).reshape(4),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Row:
    """One face of a batch, but for its pixels, which are already in place."""

    record: FaceRecord
    landmarks: NDArray[np.float64]
    visible: NDArray[np.bool_]
    crop_to_image: NDArray[np.float64]
    image_landmarks: NDArray[np.float64]
    image_box: NDArray[np.float64]


@contextmanager
def _workers(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(count, name)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _in_order(jobs: Iterable[Callable[[], Batch]], workers: ThreadPoolExecutor, ahead: int) -> Iterator[Batch]:
    pending: deque[Future[Batch]] = deque()
    for job in jobs:
        pending.append(workers.submit(job))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _record(text: bytes, where: str, key: str, num_landmarks: int) -> FaceRecord:
    record = FaceRecord.from_json(text, f"{where}.json")
    x0, y0, x1, y1 = record.box
    counts = (len(record.landmarks), len(record.visible))
    rules = {
        f"key must be {key!r}, got {record.key!r}": record.key == key,
        f"must have {num_landmarks} landmarks and visibilities, got {counts}": counts == (num_landmarks,) * 2,
        f"box must have x0 < x1 and y0 < y1, got {record.box!r}": x0 < x1 and y0 < y1,
        f"scale of stored_to_image must be positive, got {record.stored_to_image!r}": record.stored_to_image[0] > 0,
    }
    for rule, holds in rules.items():
        if not holds:
            raise ShardError(f"{where}.json: {rule}; shard the dataset again")
    return record


def _decode(data: bytes, where: str) -> transforms.Image:
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if height * width > MAX_PIXELS:
            raise ShardError(f"{where}.jpg: an image has at most {MAX_PIXELS} pixels, got {width} x {height}")
        image: transforms.Image = simplejpeg.decode_jpeg(data)
    except ValueError as cause:
        raise ShardError(f"{where}.jpg: cannot be decoded ({cause}); shard the dataset again") from None
    return image
