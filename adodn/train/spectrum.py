"""The singular values of the low-rank module's matrix M before and after training: what penalising their sum did to it.

    spectra = spectra_of_training(config, best, store, places.weights_uri)
    spectrum_figure(spectra)

Not the effective rank of each epoch: that is a metric of training, `train/effective_rank`.
"""

import torch

from adodn import models
from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.models import Network
from adodn.models.nuclear_norm import nuclear_norm_and_spectrum
from adodn.train.initial import start_from_weights


def spectra_of_training(
    config: ExperimentConfig, best: Network, store: S3Store, weights_folder: str
) -> dict[str, list[float]]:
    """The spectra of an experiment's first and last word; none where its network has no M.

    Args:
        config: The experiment.
        best: What it came to.
        store: Where the weights lie that it began with, if it did.
        weights_folder: Address of their folder.

    Returns:
        `before training` and `best epoch` → singular values, largest first.
    """
    if best.low_rank_matrix is None:
        return {}
    with torch.random.fork_rng(devices=[]):  # by default all GPUs, each with a context of its own
        torch.manual_seed(config.train.seed)
        first = models.build_for(config)
    start_from_weights(first, config, store, weights_folder)
    return {"before training": _singular_values(first), "best epoch": _singular_values(best)}


def _singular_values(network: Network) -> list[float]:
    matrix = network.low_rank_matrix
    assert matrix is not None
    values: list[float] = nuclear_norm_and_spectrum(matrix.detach())[1].tolist()
    return values
