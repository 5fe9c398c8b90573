"""What the weights of a training start from: files that lie on storage under their sha256.

    sha256 = put_by_digest(content, store, places.weights_uri)
    left_random = load_whole_model(network, parse_weights(content, "champion"), "champion")

A config names such a file by its digest, so that the same experiment starts from the same bytes on every machine.
"""

from torch import Tensor, nn

from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import CheckpointError
from adodn.models.cnt import Network
from adodn.models.weights import load_trunk, parse_weights, sha256_of

_OUTPUT_LAYERS = tuple(
    f"{place}{layer}.{name}"
    for place in ("", "branch.")
    for layer in ("head", "head.fc", "head.2")
    for name in ("weight", "bias")
)
"""What alone depends on the protocol: one row for each coordinate."""


def start_from_weights(network: Network, config: ExperimentConfig, store: S3Store, folder: str) -> None:
    """Copy the initial weights that an experiment names, if any, into a network.

    Args:
        network: Random as yet.
        config: The experiment.
        store: Where the weights lie.
        folder: Address of their folder.

    Raises:
        CheckpointError: If they are damaged or do not fit.
    """
    if trunk := config.model.initial_weights:
        uri = f"{folder}/{trunk}"
        load_trunk(network, parse_weights(get_by_digest(store, uri), uri), uri)
    if whole := config.train.initial_model:
        uri = f"{folder}/{whole}"
        load_whole_model(network, parse_weights(get_by_digest(store, uri), uri), uri)


def load_whole_model(network: nn.Module, weights: dict[str, Tensor], where: str) -> list[str]:
    """Copy a model's weights; the layer that puts out coordinates stays random where the protocol is another.

    Returns:
        Names of parameters that stay random.

    Raises:
        CheckpointError: If it is another network.
    """
    own = network.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    wrong = [name for name in sorted(own.keys() & weights.keys()) if weights[name].shape != own[name].shape]
    random = [name for name in wrong if name in _OUTPUT_LAYERS and weights[name].shape[1:] == own[name].shape[1:]]
    refused = [
        f"{name} {list(weights[name].shape)} for {list(own[name].shape)}" for name in wrong if name not in random
    ]
    if missing or extra or refused:
        raise CheckpointError(
            f"{where}: not weights of the recipe's network: missing {missing[:3]}, unknown {extra[:3]}, of another "
            f"shape {refused[:3]}; choose the recipe and model fields that it was trained with"
        )
    network.load_state_dict({name: value for name, value in weights.items() if name not in random}, strict=False)
    return random


def put_by_digest(content: bytes, store: S3Store, folder: str) -> str:
    """Store a file under its sha256, which is answered."""
    sha256 = sha256_of(content)
    store.put(f"{folder}/{sha256}", content, if_absent=True)
    return sha256


def get_by_digest(store: S3Store, uri: str) -> bytes:
    """A file that is named by its sha256.

    Raises:
        CheckpointError: If it has another.
    """
    content = store.get(uri)
    if sha256_of(content) != uri.rpartition("/")[2]:
        raise CheckpointError(f"{uri}: sha256 is {sha256_of(content)}, its name says otherwise; upload it again")
    return content
