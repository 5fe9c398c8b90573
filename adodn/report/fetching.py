"""Models for a report, fetched from wherever they are: an evaluation's folder, a run, the registry, model files.

one = fetch("first", settings.get(), dataset_uri="s3://…")
page = model_page(one.with_faces(shown_faces(one.subject.report, "full")))
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from adodn import publish
from adodn.config import ExperimentConfig
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.errors import ConfigError, DataError
from adodn.evaluate import gather
from adodn.evaluate.running import test_loader
from adodn.evaluate.views import View
from adodn.models import Network
from adodn.report.maps import face_maps
from adodn.report.subject import Subject, is_evaluation, read_evaluation
from adodn.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fetched:
    """A model with what its faces can be drawn from."""

    subject: Subject
    network: Network | None
    """None of an evaluation's folder, which holds no weights."""
    dataset_uri: str
    """Empty where nobody said."""
    places: Settings

    def with_faces(self, keys: Collection[str]) -> Subject:
        """The subject with the crops of these faces, and their maps where the network is here.

        Raises:
            DataError: If the dataset is not the one that was measured on.
        """
        if not self.dataset_uri or set(keys) <= self.subject.crops.keys():
            return self.subject
        manifest = read_manifest(S3Store.from_settings(self.places), self.dataset_uri)
        measured_on = self.subject.report.dataset_digest
        if manifest.digest != measured_on:
            raise DataError(
                f"faces are drawn from the dataset that was measured on, which has digest {measured_on}; "
                f"{self.dataset_uri} has {manifest.digest}: name that one"
            )
        known = self.subject.provenance
        config = ExperimentConfig.from_json(known.config) if known else ExperimentConfig(name="faces")
        shown = self.subject.report.conditions
        view = View(protocol=manifest.landmark_protocol, mask_seed=shown.mask_seed if shown else None)
        crop_scale = shown.crop_scale if shown else config.data.crop_scale
        crops = gather(test_loader(config, manifest, self.dataset_uri, self.places, view, crop_scale), keys)
        maps = face_maps(self.network, crops) if self.network is not None else {}
        return replace(self.subject, crops=crops, maps=maps)


def fetch(model: str, places: Settings, *, dataset_uri: str = "", normaliser: str = "") -> Fetched:
    """A model that was measured, or is measured now.

    Args:
        model: The folder of an evaluation, or a run's name, `models:/…` or a folder of model files.
        places: Where stores and servers are.
        dataset_uri: A model is measured on it; of an evaluation's folder it lends the faces.
        normaliser: What errors are divided by where a model is measured; empty: the protocol's usual one.

    Raises:
        ConfigError: If a model is to be measured and no dataset is named.
        DataError: If an evaluation's folder is damaged.
    """
    if is_evaluation(Path(model)):
        return Fetched(subject=read_evaluation(Path(model)), network=None, dataset_uri=dataset_uri, places=places)
    if not dataset_uri:
        raise ConfigError(
            f"{model!r} is no folder of `adodn evaluate --out`, so it has to be measured; name the dataset: --dataset"
        )
    network, config = publish.load(model, places)
    measured = publish.measure(network, config, dataset_uri, places, normaliser=normaliser or None)
    label = Path(model).name if Path(model).is_dir() else model
    return Fetched(subject=measured.subject(label), network=network, dataset_uri=dataset_uri, places=places)
