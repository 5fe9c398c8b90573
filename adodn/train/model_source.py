"""The model that a training starts from, wherever it lies.

content = read_whole_model("models:/adodn-68@champion", protocols.get("68"), places)
sha256 = initial.put_by_digest(content, store, places.weights_uri)
"""

import tempfile
from pathlib import Path

from adodn import publish
from adodn.errors import CheckpointError, StorageError
from adodn.model_files import WEIGHTS, write_model
from adodn.models.cnt import single_branch_state
from adodn.models.weights import read_source
from adodn.protocols import LandmarkProtocol
from adodn.settings import Settings


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
