"""What the weights of a training start from: files that lie on storage under their sha256.

    content = read_whole_model("models:/adodn-68@champion", protocols.get("68"), places)
    left_random = load_whole_model(network, parse_weights(content, "champion"), "champion")

A config names such a file by its digest, so that the same experiment starts from the same bytes on every machine.
"""

import tempfile
from pathlib import Path

from torch import Tensor, nn

from adodn import publish
from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import CheckpointError, StorageError
from adodn.model_files import WEIGHTS, write_model
from adodn.models.cnt import Network, single_branch_state
from adodn.models.weights import load_trunk, parse_weights, read_source, sha256_of
from adodn.protocols import LandmarkProtocol
from adodn.settings import Settings

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


def read_whole_model(source: str, protocol: LandmarkProtocol, places: Settings) -> bytes:
    """The weights of a model as a file's content, safetensors unless the file is something else.

    Of a model of several protocols (CNT's first stage) it is the trunk and one branch: what the second fine-tunes.

    Args:
        source: `models:/NAME@ALIAS`, a finished run's name, a folder of model files, or a file of weights.
        protocol: Chooses the branch, where the model has several.
        places: Where stores and servers are.

    Raises:
        CheckpointError: If there is no such model, or it is damaged.
        ConfigError: If it has several branches and none for the protocol.
    """
    if Path(source).is_file():
        return read_source(source)
    try:
        network, config = publish.load(source, places)
    except StorageError as error:
        raise CheckpointError(
            f"{source!r} must be models:/NAME@ALIAS, a finished run's name, a folder of model files or a file of "
            f"weights, and is none: {error}"
        ) from error
    state = network.state_dict()
    if config.data.sources:
        state = single_branch_state(state, config.branch_number(protocol))
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), state, config)
        return (Path(folder) / WEIGHTS).read_bytes()


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
