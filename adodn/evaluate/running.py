"""A network on the test split of a sharded dataset, whatever the protocols of both.

    shown = Showing(mask_seed=0, box_jitter=True)
    evaluation, batches = evaluate_network(network, config, dataset_uri, places, shown)
    evaluation.rows(), evaluation.box_jitter

The crop is made around the box that the dataset has of a face. Nothing is trained, nothing is written.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from adodn import metrics
from adodn.config import ExperimentConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import Manifest
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import ConfigError, DataError
from adodn.evaluate.conditions import Conditions, tight_boxes
from adodn.evaluate.crossing import MetBatches, mapped
from adodn.evaluate.faces import FaceErrors
from adodn.evaluate.figures import EvaluationReport, Jittered, report
from adodn.evaluate.measuring import face_errors
from adodn.evaluate.views import View
from adodn.models import Network, Prediction
from adodn.protocols.mapping import ProtocolMap
from adodn.protocols.meeting import Meeting, meet
from adodn.samples import Batch
from adodn.settings import Settings
from adodn.statistics import paired_bootstrap_interval

BATCH = 32
SHIFTS, SCALES = (0.05, 0.10), (0.90, 1.10)
"""What `box_jitter` tries, of the box's larger side: as far as detectors and annotators differ."""
_REVISION = 1
"""Raised when the same network, dataset and settings give other numbers than before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Showing:
    """What is asked of an evaluation, beside model and dataset."""

    normaliser: str = ""
    """What errors are divided by; empty: the usual one of the points that are compared."""
    mask_seed: int | None = None
    """Put masks on all faces; which ones."""
    crop_scale: float | None = None
    """Side of the crop, as a multiple of the box's larger side; None: as the model was trained."""
    box_jitter: bool = False
    """Measure as well how the result changes with the boxes."""
    own_maps: tuple[ProtocolMap, ...] = ()
    """Maps between protocols that count before the known ones."""

    def __post_init__(self) -> None:
        if self.crop_scale is not None and not 0 < self.crop_scale < float("inf"):
            raise ConfigError(f"a crop's side is a multiple above 0 of the box's, got {self.crop_scale!r}")
        if self.mask_seed is not None and self.mask_seed < 0:
            raise ConfigError(f"the seed of masks is a whole number from 0, got {self.mask_seed!r}")

    def digest(self, place: Meeting) -> str:
        """sha256 of all that decides the result beside model and dataset: what a kept result is known by.

        Args:
            place: Where model and dataset meet, in which `own_maps` count as far as they are used.
        """
        plain = {name: getattr(self, name) for name in ("normaliser", "mask_seed", "crop_scale")}
        plain |= {"maps": place.digest, "revision": _REVISION, "jitter": [SHIFTS, SCALES] if self.box_jitter else []}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def evaluate_network(
    network: Network, config: ExperimentConfig, dataset_uri: str, places: Settings, showing: Showing
) -> tuple[EvaluationReport, Iterable[Batch]]:
    """Measure a network, without fine-tuning, in fp32.

    Args:
        network: In evaluation mode.
        config: What it was trained as.
        dataset_uri: Manifest or folder of the dataset.
        places: Where the store and the cache are.
        showing: What is asked.

    Returns:
        The report, and the faces that it is of, to be gone through again.

    Raises:
        ConfigError: If the dataset has no test split, no maps bring the protocols together, or where they meet there
            is no such normaliser; or if the model is of several protocols.
        DataError: If what is asked for needs more faces, or a face cannot be measured.
    """
    check_single(config)
    manifest = read_manifest(S3Store.from_settings(places), dataset_uri)
    work = _Work(network, config, manifest, dataset_uri, places, showing)
    usual = View(protocol=manifest.landmark_protocol, mask_seed=showing.mask_seed)
    batches = _Tallied(work.loader(usual))
    errors = work.measure(batches)
    found = report(
        errors, manifest.dataset, manifest.digest, work.normaliser, conditions=work.conditions(errors, batches)
    )
    if showing.box_jitter:
        found = replace(found, box_jitter=work.jitter(usual, errors))
    return found, MetBatches(batches, work.place)


def check_single(config: ExperimentConfig) -> None:
    """Refuse a model of several protocols.

    Raises:
        ConfigError: If it is one.
    """
    if config.data.sources:
        raise ConfigError(
            f"model {config.name!r} is the first stage of cross-protocol training, with branches for "
            f"{', '.join(branch.name for branch in config.branches)} landmarks; fine-tune it on one dataset with "
            "`adodn train --from-model`, and evaluate that"
        )


def meeting_of(config: ExperimentConfig, manifest: Manifest, showing: Showing) -> Meeting:
    """Where a model and a dataset meet.

    Raises:
        ConfigError: If they do not, or there is no such normaliser.
    """
    place = meet(config.model.landmark_protocol, manifest.landmark_protocol, showing.own_maps)
    known = metrics.normaliser_names(place.protocol)
    if showing.normaliser and showing.normaliser not in known:
        met = f", where the model's {config.model.protocol!r} and the dataset's {manifest.protocol!r} meet,"
        raise ConfigError(
            f"protocol {place.protocol.name!r}{met if place.is_crossing else ''} has no normaliser "
            f"{showing.normaliser!r}; available: {', '.join(known)}"
        )
    return place


def test_loader(
    config: ExperimentConfig,
    manifest: Manifest,
    dataset_uri: str,
    places: Settings,
    view: View,
    crop_scale: float,
) -> ShardLoader:
    """The faces of a dataset's test split, un-augmented, as a model of this experiment takes them."""
    return ShardLoader(
        manifest=manifest,
        base_uri=dataset_uri.removesuffix("/manifest.json"),
        source=S3Store.from_settings(places),
        cache=ShardCache(places.cache_dir, places.cache_max_bytes),
        split="test",
        protocol=manifest.landmark_protocol,
        data=replace(config.data, dataset=manifest.digest, crop_scale=crop_scale),
        input_px=config.model.input_px,
        global_batch=BATCH,
        train=False,
        view=view,
    )


class _Work:
    """One network, one dataset, and where they meet."""

    def __init__(
        self,
        network: Network,
        config: ExperimentConfig,
        manifest: Manifest,
        dataset_uri: str,
        places: Settings,
        showing: Showing,
    ) -> None:
        self.place = meeting_of(config, manifest, showing)
        self.normaliser = showing.normaliser or self.place.protocol.usual_normaliser
        self._network, self._config, self._manifest, self._uri = network, config, manifest, dataset_uri
        self._places, self._mask_seed = places, showing.mask_seed
        self._crop_scale = showing.crop_scale or config.data.crop_scale

    def loader(self, view: View) -> ShardLoader:
        """The dataset's test split, shown in a certain way."""
        return test_loader(self._config, self._manifest, self._uri, self._places, view, self._crop_scale)

    def measure(self, batches: Iterable[Batch]) -> FaceErrors:
        """All faces of some batches, in the points where model and dataset meet."""

        @torch.inference_mode()
        def predict(images: torch.Tensor) -> torch.Tensor:
            prediction: Prediction = self._network(images)
            return prediction.landmarks

        met = MetBatches(batches, self.place)
        return face_errors(mapped(predict, self.place), met, self.place.protocol, self.normaliser)

    def jitter(self, usual: View, errors: FaceErrors) -> tuple[Jittered, ...]:
        """The same faces with other boxes, against `errors`."""
        if len(errors) < 2:
            raise DataError(f"box jitter is told with an interval over faces, and needs at least 2, got {len(errors)}")
        changed = {f"shift {shift:.2f}": replace(usual, shift=shift) for shift in SHIFTS}
        changed |= {f"scale {scale:.2f}": replace(usual, scale=scale) for scale in SCALES}
        return tuple(_jittered(name, self.measure(self.loader(view)), errors) for name, view in changed.items())

    def conditions(self, errors: FaceErrors, batches: "_Tallied") -> Conditions:
        """What the figures depend on."""
        policy, config = self._manifest.image_policy, self._config
        return Conditions(
            model_protocol=config.model.protocol,
            dataset_protocol=self._manifest.protocol,
            via=self.place.name,
            guessed=tuple(self.place.protocol.names[point] for point in self.place.guessed),
            maps_digest=self.place.digest,
            box_source="landmarks" if batches.tight == len(errors) else "dataset",
            tight_boxes=batches.tight,
            box_policy=policy.box,
            stored_margin=policy.margin,
            stored_max_px=policy.max_px,
            crop_scale=self._crop_scale,
            trained_crop_scale=config.data.crop_scale,
            input_px=config.model.input_px,
            mask_seed=self._mask_seed,
        )


class _Tallied:
    """Batches, with a count of the faces whose box is tight around the annotation."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.tight = 0

    def __iter__(self) -> Iterator[Batch]:
        self.tight = 0
        for batch in self._batches:
            counted = ~batch.is_padding
            boxes, landmarks = batch.image_boxes[counted], batch.image_landmarks[counted]
            self.tight += tight_boxes(boxes.numpy(), landmarks.numpy())
            yield batch


def _jittered(change: str, changed: FaceErrors, usual: FaceErrors) -> Jittered:
    interval = paired_bootstrap_interval(changed.nme, usual.nme)
    return Jittered(
        change=change,
        nme=metrics.mean(changed.nme),
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        confidence=interval.confidence,
        num_faces=len(usual),
    )
