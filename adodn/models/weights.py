"""Start a trunk from weights made elsewhere: a `state_dict` or safetensors with torchvision's names.

    content = read_source("resnet18-f37072fd.pth")
    load_trunk(network, parse_weights(content, "resnet18-f37072fd.pth"), "resnet18-f37072fd.pth")

Nothing is unpickled but tensors.
"""

import hashlib
import io
import pickle
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from adodn import web
from adodn.errors import CheckpointError
from adodn.models.cnt import Network
from adodn.models.sepbn import SepBN2d
from adodn.models.trunks import Trunk

_MAX_BYTES = 2_000_000_000


def read_source(source: str) -> bytes:
    """The bytes of a weight file at a path or an https URL of the public web.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        if source.startswith("https://"):
            return web.read(source, max_bytes=_MAX_BYTES)
        return Path(source).expanduser().read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"initial weights {source!r} cannot be read: {error}; give a path or an https URL"
        ) from error


def parse_weights(content: bytes, where: str) -> dict[str, Tensor]:
    """Tensors by name, from safetensors or a `state_dict` saved by torch.

    Raises:
        CheckpointError: If it is neither.
    """
    try:
        if content[8:9] == b"{":
            return safetensors.torch.load(content)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{where}: neither safetensors nor a plain state_dict: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{where}: must hold tensors by name and nothing else")
    return loaded


def load_trunk(network: Network, weights: dict[str, Tensor], where: str) -> None:
    """Copy ImageNet weights into the trunk, its last unit (pathway D) included; the classifier is left out.

    A SepBN layer takes those of the batch norm in whose place it stands, in all of its branches; its attention stays
    random.

    Raises:
        CheckpointError: If a name or a shape does not fit.
    """
    trunk = network.trunk
    kept = {name: value for name, value in weights.items() if not name.startswith(trunk.classifier)}
    own = plain_shapes(trunk)
    missing = sorted(name for name in own if name not in kept and not name.endswith("num_batches_tracked"))
    extra = sorted(set(kept) - set(own))
    wrong = sorted(name for name in set(kept) & set(own) if kept[name].shape != own[name])
    if missing or extra or wrong:
        raise CheckpointError(
            f"{where}: not weights of {type(trunk).__name__} in torchvision's names: "
            f"missing {missing[:3]}, unknown {extra[:3]}, of another shape {wrong[:3]}"
        )
    trunk.load_state_dict(kept, strict=False)


def plain_shapes(trunk: Trunk) -> dict[str, torch.Size]:
    """Names and shapes of a trunk's weights as they were before its batch norms became SepBN."""
    shapes = {name: value.shape for name, value in trunk.state_dict().items()}
    for layer, module in trunk.named_modules():
        if isinstance(module, SepBN2d):
            shapes = {name: shape for name, shape in shapes.items() if not name.startswith(f"{layer}.")}
            batch_norm = nn.BatchNorm2d(module.num_features, device="meta")
            shapes |= {f"{layer}.{name}": value.shape for name, value in batch_norm.state_dict().items()}
    return shapes


def sha256_of(content: bytes) -> str:
    """The identity of a weight file."""
    return hashlib.sha256(content).hexdigest()
