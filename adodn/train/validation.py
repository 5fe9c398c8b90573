"""NME on validation faces, over all workers: of one dataset, or of each that cross-protocol training mixes.

    mean_nme(lambda images: network(images).landmarks, loader, protocols.get("68"))
    metrics = nme_of_sources(state, loaders)        # and `MEAN_OF_DATASETS`, by which models are chosen

Figures of a finished model are `adodn.evaluate`'s.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from adodn.evaluate import PredictFn, to_image
from adodn.metrics import nme, normaliser_of
from adodn.protocols import LandmarkProtocol
from adodn.samples import Batch
from adodn.train.peers import sum_over_peers
from adodn.train.state import TrainState
from adodn.train.step import autocast

MEAN_OF_DATASETS = "val/nme@mean_of_datasets"
"""The mean of the datasets' NME, each by its protocol's usual normaliser: a small dataset counts like a large one."""


@torch.inference_mode()
def mean_nme(predict: PredictFn, faces: Iterable[Batch], protocol: LandmarkProtocol) -> float:
    """NME by the usual normaliser, a fraction, over all workers' faces: sums first, one division last.

    Args:
        predict: The model in evaluation mode, from images to landmarks, on any device.
        faces: This worker's, each once but for padding.
        protocol: Of the landmarks.
    """
    total = torch.zeros(2, dtype=torch.float64)
    for batch in faces:
        in_image = to_image(predict(batch.images).cpu().double(), batch.crop_to_image)
        normaliser = normaliser_of(protocol, batch.image_landmarks, batch.image_boxes, protocol.usual_normaliser)
        errors = nme(in_image, batch.image_landmarks, normaliser)[~batch.is_padding]
        total += torch.tensor([errors.sum(), len(errors)], dtype=torch.float64)
    error_sum, count = sum_over_peers(total).tolist()
    return float(error_sum / count)


def nme_of_sources(state: TrainState, loaders: Sequence[Iterable[Batch]]) -> dict[str, float]:
    """The NME of each dataset of a cross-protocol experiment through its own branch, and their mean.

    Args:
        state: Its result is measured.
        loaders: For each of `data.sources` its validation faces, at the start of an epoch.

    Returns:
        `val/NAME-PROTOCOL/nme@NORMALISER` of each, and `MEAN_OF_DATASETS`.
    """
    found: dict[str, float] = {}
    for source, faces in zip(state.config.data.sources, loaders, strict=True):
        protocol = source.landmark_protocol
        predict = partial(_through_branch, state, state.config.branch_number(protocol), protocol.num_landmarks)
        name = f"val/{source.name}-{source.protocol}/nme@{protocol.usual_normaliser}"
        found[name] = mean_nme(predict, faces, protocol)
    return found | {MEAN_OF_DATASETS: sum(found.values()) / len(found)}


def _through_branch(state: TrainState, number: int, num_landmarks: int, images: Tensor) -> Tensor:
    network = state.result.eval()
    device = next(network.parameters()).device
    branches = torch.full((len(images),), number)
    with autocast(state.config.train.precision, device):
        landmarks: Tensor = network(images.to(device, non_blocking=True), branches).landmarks
    return landmarks[:, :num_landmarks]
