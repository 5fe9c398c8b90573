"""From shards to batches: the same faces in the same order for any number of ranks, resumable at any step.

Decodes, crops and augments; knows nothing of models or of how ranks talk.

    loader = ShardLoader(manifest=manifest, base_uri=uri, source=store, cache=cache, split="train",
                         protocol=protocols.get("68"), data=config.data, input_px=224, global_batch=32, train=True)
    for batch in loader:          # one epoch; the next loop is the next epoch
        ...
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from adodn.config import AugmentConfig, DataConfig
from adodn.data import transforms
from adodn.data.cache import ShardCache, ShardSource
from adodn.data.epochs import EpochLoader, Job
from adodn.data.faces import Annotations, FaceReader, decode
from adodn.data.manifest import Manifest
from adodn.data.partition import BatchPlan, EpochOrder, GlobalBatches, num_steps, require_share
from adodn.errors import ConfigError
from adodn.occlusion.occluder import Occluder, draw_occlusion
from adodn.occlusion.patterns import Patterns
from adodn.protocols import LandmarkProtocol
from adodn.samples import Batch

_FACES_OF_A_PART = 64
"""The least. Parts of 32 cost two threads 2 % of their throughput, parts of 64 at most 1 %."""


class FaceView(Protocol):
    """How faces are shown at evaluation where that is not as they are stored (`adodn.evaluate.views`)."""

    def placing(self, keys: Sequence[str], crop_scale: float) -> transforms.Augmentation:
        """What is done to the crops of some faces."""
        ...

    def dressed(
        self, key: str, pixels: transforms.Image, landmarks: transforms.Reals
    ) -> tuple[transforms.Image, NDArray[np.bool_] | None]:
        """A stored image with what the face wears, and `[L]`, which landmarks that hides, if any can be."""
        ...


class ShardLoader(EpochLoader[Batch]):
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
        pin_memory: Whether those threads also put batches where a GPU can fetch them.
        patterns: What the occluder `pattern` draws from.
        view: How faces are shown; for evaluation alone.

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
        pin_memory: bool = False,
        patterns: Patterns | None = None,
        view: FaceView | None = None,
    ) -> None:
        require_share(global_batch, rank, world_size)
        super().__init__(
            dataset=manifest.digest,
            seed=seed,
            global_batch=global_batch,
            num_threads=num_threads,
            prefetch=prefetch,
            pin_memory=pin_memory,
        )
        if data.dataset not in ("", self.dataset):
            raise ConfigError(f"config is for dataset {data.dataset!r}, got {self.dataset!r}; open the one it names")
        self.faces = FaceReader(manifest, base_uri=base_uri, source=source, cache=cache, split=split, protocol=protocol)
        self._data, self.input_px, self._flip = data, input_px, np.array(protocol.flip)
        self._occluder = Occluder(protocol, data.augment if train else AugmentConfig(), patterns)
        self._rank, self._world_size, self._train = rank, world_size, train
        self._view = None if train else view

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return num_steps(len(self.faces), self._global_batch, train=self._train)

    def _jobs(self, epoch: int, start: int, fetchers: ThreadPoolExecutor) -> Iterator[Job[Batch]]:
        order = self.order(epoch)
        batches = GlobalBatches(order, global_batch=self._global_batch, train=self._train)
        next_window = order.window_of(start * self._global_batch)
        for step in range(start, len(batches)):
            last = min((step + 1) * self._global_batch, len(order)) - 1
            next_window = self.fetch(order, next_window, last, fetchers)
            share = batches[step].share(self._rank, self._world_size)
            # Here, in the consumer's thread: the allocator gives other threads' large blocks back to the system, and a
            # batch in fresh memory costs a page fault for every 4 kB.
            images = np.empty((len(share.indices), self.input_px, self.input_px, 3), np.uint8)
            yield self._job(share, epoch, images)

    def _job(self, plan: BatchPlan, epoch: int, images: transforms.Image) -> Job[Batch]:
        """Parts are as the shares of that many ranks would be: the same faces, each with draws of its own."""
        faces = len(plan.indices)
        counts = range(1, min(self._num_threads, faces // _FACES_OF_A_PART) + 1)
        count = max((count for count in counts if faces % count == 0), default=1)
        size = faces // count
        parts = [
            partial(self.prepare, plan.share(part, count), epoch, images[part * size : (part + 1) * size])
            for part in range(count)
        ]
        return Job(parts, partial(_joined, images))

    def order(self, epoch: int) -> EpochOrder:
        """In which an epoch visits the faces."""
        return EpochOrder(self.faces.shard_faces, seed=self._seed, epoch=epoch, train=self._train)

    def fetch(self, order: EpochOrder, window: int, place: int, fetchers: ThreadPoolExecutor) -> int:
        """Send for the shards of all windows from `window` to the one after that of `place`.

        Returns:
            The first window that was not sent for.
        """
        end = max(window, min(order.window_of(place) + 2, order.num_windows))
        for number in range(window, end):
            for shard in order.shards(number):
                fetchers.submit(self.faces.open, shard)
        return end

    def prepare(self, plan: BatchPlan, epoch: int, images: transforms.Image) -> Batch:
        """The batch of a plan, as the epoch has it; its crops are drawn on `images` `[B, S, S, 3]`.

        Raises:
            ShardError: If a shard or a record is damaged.
            StorageError: If a shard is not here and the store does not answer.
        """
        indices, faces = plan.indices, self.faces.annotations(plan.indices)
        draws = transforms.sample_draws(self._seed, epoch, indices)
        chosen = self._augmentation(faces, draws)
        affines = transforms.crop_affine(faces.boxes, crop_scale=self._data.crop_scale, augmentation=chosen)
        landmarks = transforms.move(faces.landmarks, transforms.invert(affines))
        visible = faces.visible
        if self._train:
            landmarks[chosen.flip] = landmarks[chosen.flip][:, self._flip]
            visible[chosen.flip] = visible[chosen.flip][:, self._flip]
        self._draw(images, indices, affines, chosen, faces)
        if self._train:
            self._cover(images, landmarks, visible, draws)
        onward = transforms.stored_to_image(np.eye(2, 3), faces.stored_to_image)
        corners = faces.boxes.reshape(-1, 2, 2)
        return Batch(
            images=torch.from_numpy(images).permute(0, 3, 1, 2),
            landmarks=torch.from_numpy(landmarks.astype(np.float32)),
            visible=torch.from_numpy(visible),
            crop_to_image=torch.from_numpy(transforms.stored_to_image(affines, faces.stored_to_image)),
            image_landmarks=torch.from_numpy(transforms.move(faces.landmarks, onward)),
            image_boxes=torch.from_numpy(transforms.move(corners, onward).reshape(-1, 4)),
            indices=torch.from_numpy(indices.copy()),
            is_padding=torch.from_numpy(plan.is_padding.copy()),
            positions=torch.from_numpy(plan.positions.copy()),
            keys=list(faces.keys),
            subsets=list(faces.subsets),
        )

    def _augmentation(self, faces: Annotations, draws: transforms.Reals) -> transforms.Augmentation:
        if self._train:
            return transforms.draw_augmentation(self._data.augment, draws)
        if self._view is not None:
            return self._view.placing(faces.keys, self._data.crop_scale)
        return transforms.Augmentation()

    def _draw(
        self,
        images: transforms.Image,
        indices: NDArray[np.int64],
        affines: transforms.Affine,
        chosen: transforms.Augmentation,
        faces: Annotations,
    ) -> None:
        """Fill `images` with the crops in their new colours, each finished while the processor still has it at hand.

        Landmarks of `faces` that a view hides are no longer visible.
        """
        colours = np.stack([chosen.brightness, chosen.contrast, chosen.saturation], -1).tolist()
        for place, (data, where) in enumerate(self.faces.encoded(indices)):
            pixels = decode(data, where)
            if self._view is not None:
                pixels, hidden = self._view.dressed(faces.keys[place], pixels, faces.landmarks[place])
                if hidden is not None:
                    faces.visible[place] &= ~hidden
            transforms.warp(pixels, affines[place], images[place])
            if self._train:
                brightness, contrast, saturation = colours[place]
                transforms.adjust_colours(
                    images[place], brightness=brightness, contrast=contrast, saturation=saturation
                )

    def _cover(
        self, images: transforms.Image, landmarks: transforms.Reals, visible: NDArray[np.bool_], draws: transforms.Reals
    ) -> None:
        """Cover parts of some crops, in place; landmarks beneath are no longer visible."""
        for place, numbers in enumerate(draws.tolist()):
            occlusion = draw_occlusion(self._data.augment, numbers)
            if occlusion is not None:
                visible[place] &= ~self._occluder.cover(images[place], landmarks[place], occlusion)


def _joined(images: transforms.Image, parts: Sequence[Batch]) -> Batch:
    """The parts' faces, one part after the other; their crops are on `images` `[B, S, S, 3]` already."""
    if len(parts) == 1:
        return parts[0]
    whole: dict[str, Any] = {"images": torch.from_numpy(images).permute(0, 3, 1, 2)}
    for name in (field.name for field in fields(Batch) if field.name != "images"):
        values = [getattr(part, name) for part in parts]
        whole[name] = torch.cat(values) if isinstance(values[0], torch.Tensor) else list(chain(*values))
    return Batch(**whole)
