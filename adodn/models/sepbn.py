"""Separable batch normalisation (SepBN paper §III): one normalisation, K sets of scale and shift, chosen by attention.

    layer = SepBN2d(64, num_branches=3, num_groups=2, pool_size=3)
    layer.temperature = temperature_at(epoch)

Not here: which batch norms of a network to replace (`conversion.py`).

Shapes: B batch, C channels, K branches, G groups of C / G channels, T side of the pooled map.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adodn.config import SepBNConfig
from adodn.errors import ConfigError
from adodn.models.pooling import MaxPool2d, MeanPool2d
from adodn.models.precision import at_least_fp32

BatchNorm: TypeAlias = nn.BatchNorm2d | nn.SyncBatchNorm
"""The normalisations that SepBN can be built on."""

_SQUEEZE = 10
"""r of the squeeze: a tenth of the channels, as the authors' published model has."""


class SepBN2d(nn.Module):
    """Batch normalisation whose scale and shift are mixed for each face and group of channels (Eqs. 5-7).

    All branches begin as one: as the attention's weights sum to 1, the layer then computes what its normalisation
    alone would. With one branch there is nothing to attend to, and the layer is its normalisation, bit by bit.

    Args:
        num_features: C.
        num_branches: K.
        num_groups: G; it divides C.
        pool_size: T, for the attention `grouped`.
        norm: The normalisation, which the layer takes for its own: its scale and shift go to every branch, its
            statistics stay. Any batch norm, also `VirtualBatchNorm2d` and `SyncBatchNorm`; None: a `BatchNorm2d`.
        aggregation: `soft` mixes the branches by their weights (Eq. 6); `hard` takes the heaviest, and the attention
            learns nothing, as the paper found.
        attention: `grouped`: max pool to T×T, 1×1 convolution to G channels, MLP; `squeeze`: the simple SepBN of
            Eqs. 3-5, a mean over the map and two linear layers. The paper's text puts a sigmoid before its softmax;
            the authors' code does not, and neither do we.
        hidden: Width of the MLP's hidden layer, which the paper does not give; 0: that of its input, G·T².

    Raises:
        ConfigError: If G does not divide C.
    """

    def __init__(
        self,
        num_features: int,
        num_branches: int = 3,
        num_groups: int = 2,
        pool_size: int = 3,
        *,
        norm: BatchNorm | None = None,
        aggregation: Literal["soft", "hard"] = "soft",
        attention: Literal["grouped", "squeeze"] = "grouped",
        hidden: int = 0,
    ) -> None:
        super().__init__()
        if min(num_branches, num_groups, pool_size) < 1 or num_features % num_groups:
            raise ConfigError(
                f"SepBN's branches, groups and pool must be at least 1 and its groups must divide the {num_features} "
                f"channels, got {num_branches}, {num_groups} and {pool_size}; choose a divisor of {num_features}"
            )
        self.num_features, self.num_branches, self.num_groups = num_features, num_branches, num_groups
        self.aggregation = aggregation
        self.norm = nn.BatchNorm2d(num_features) if norm is None else norm
        self.attention: nn.Module | None = None
        if num_branches > 1:
            self.weight, self.bias = _branches_of(self.norm, num_branches)
            head = num_groups * num_branches
            self.attention = (
                _GroupedAttention(num_features, num_groups, pool_size, hidden, head)
                if attention == "grouped"
                else _SqueezeAttention(num_features, head)
            ).to(self.weight)
        self.register_buffer("softmax_temperature", torch.ones_like(_statistics(self.norm)[0]))
        self.register_load_state_dict_pre_hook(_accept_batch_norm)  # type: ignore[no-untyped-call]

    @property
    def temperature(self) -> float:
        """τ of the softmax (Eq. 5). Saved with the weights, because what the layer computes depends on it."""
        return float(cast(Tensor, self.softmax_temperature))

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not value > 0:
            raise ConfigError(f"SepBN's temperature must be positive, got {value!r}")
        cast(Tensor, self.softmax_temperature).fill_(value)

    def attend(self, input: Tensor) -> Tensor:
        """π `[B, G, K]`: how much of each branch every group of a face's channels gets; sums to 1 over K."""
        if self.attention is None:
            return input.new_ones(input.shape[0], self.num_groups, 1)
        with torch.autocast(input.device.type, enabled=False):
            logits = self.attention(input).view(-1, self.num_groups, self.num_branches)
            weights: Tensor = (logits / self.softmax_temperature).softmax(dim=2)
        if self.aggregation == "soft":
            return weights
        # The zero keeps the attention in the graph, so that data parallelism finds a gradient for all parameters.
        return F.one_hot(weights.argmax(dim=2), self.num_branches) + 0 * weights

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`."""
        if self.attention is None:
            return cast(Tensor, self.norm(input))
        weights, normalised = self.attend(input), self.norm(input)
        scale, shift = (self._mixed(weights, table).to(normalised.dtype) for table in (self.weight, self.bias))
        return torch.addcmul(shift, normalised, scale)

    def _mixed(self, weights: Tensor, table: Tensor) -> Tensor:
        """Eq. 6: π `[B, G, K]` and a table `[K, C]` → `[B, C, 1, 1]`."""
        with torch.autocast(weights.device.type, enabled=False):
            grouped = table.view(self.num_branches, self.num_groups, -1)
            return torch.einsum("bgk,kgm->bgm", weights, grouped).reshape(-1, self.num_features, 1, 1)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.num_features}, branches={self.num_branches}, groups={self.num_groups}, {self.aggregation}"


class _GroupedAttention(nn.Module):
    """What Fig. 1 shows: a map of T×T, one channel a group, and an MLP over all of it."""

    def __init__(self, channels: int, groups: int, pool_size: int, hidden: int, outputs: int) -> None:
        super().__init__()
        inputs = groups * pool_size**2
        hidden = hidden or inputs
        self.pool = MaxPool2d(pool_size)
        self.conv = nn.Conv2d(channels, groups, 1)
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(inplace=True), nn.Linear(hidden, outputs))

    def forward(self, input: Tensor) -> Tensor:
        return cast(Tensor, self.mlp(self.conv(at_least_fp32(self.pool(input))).flatten(1)))


class _SqueezeAttention(nn.Module):
    """The squeeze and the excitation of Eq. 3."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        width = max(1, channels // _SQUEEZE)
        self.pool = MeanPool2d(1)
        self.mlp = nn.Sequential(
            nn.Linear(channels, width, bias=False), nn.LeakyReLU(inplace=True), nn.Linear(width, outputs, bias=False)
        )

    def forward(self, input: Tensor) -> Tensor:
        return cast(Tensor, self.mlp(self.pool(at_least_fp32(input)).flatten(1)))


class BruteForceSepBN2d(nn.Module):
    """One batch norm for each sub-domain, statistics included; a face goes through that of its own (§III-A).

    Which face belongs where must be told (`routed`), at the test as well: the paper tries all and keeps the best.

    Args:
        num_features: C.
        num_domains: Sub-domains.
        norm: What every branch begins as; None: a new `BatchNorm2d`.
    """

    def __init__(self, num_features: int, num_domains: int = 3, *, norm: BatchNorm | None = None) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(num_features) for _ in range(num_domains))
        self.domains: Tensor | None = None
        if norm is not None:
            for branch in cast(list[nn.BatchNorm2d], list(self.norms)):
                branch.load_state_dict(norm.state_dict())
                branch.eps, branch.momentum = norm.eps, norm.momentum

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`, each face among those of its domain.

        Raises:
            ValueError: If no domains are set for these faces.
        """
        if self.domains is None or len(self.domains) != len(input):
            known = None if self.domains is None else len(self.domains)
            raise ValueError(f"needs the domains of {len(input)} faces, got {known}; call it inside `routed`")
        order = self.domains.argsort(stable=True)
        counts = self.domains.bincount(minlength=len(self.norms)).tolist()
        parts = torch.split(input[order], counts)
        outputs = [_through(cast(nn.BatchNorm2d, norm), part) for norm, part in zip(self.norms, parts, strict=True)]
        return torch.cat(outputs)[order.argsort()]


@contextmanager
def routed(network: nn.Module, domains: Tensor) -> Iterator[None]:
    """Within it, each `BruteForceSepBN2d` of a network knows the faces' sub-domains, `[B]` int64, 0 … D - 1."""
    layers = [module for module in network.modules() if isinstance(module, BruteForceSepBN2d)]
    for layer in layers:
        layer.domains = domains
    try:
        yield
    finally:
        for layer in layers:
            layer.domains = None


def branch_similarity(vectors: Tensor) -> Tensor:
    """Mean cosine similarity of all pairs of rows of `[K, C]`, a scalar -1 … 1 (Eq. 2, drawn in Fig. 4)."""
    rows = F.normalize(vectors, dim=1)
    first, second = torch.triu_indices(len(vectors), len(vectors), offset=1, device=vectors.device)
    return (rows[first] * rows[second]).sum(dim=1).mean()


def temperature_at(epoch: int, start: float = 30.0, epochs: int = 30) -> float:
    """τ in an epoch, counted from 0: linear from `start` in the first to 1 in the last of `epochs`, and 1 after that.

    The steps are the authors': 30, 29, …, 1 in the first 30 epochs.
    """
    if epoch >= epochs - 1:
        return 1.0
    return start - (start - 1) * epoch / (epochs - 1)


def anneal(network: nn.Module, sepbn: SepBNConfig, epoch: int) -> None:
    """Give all SepBN layers of a network the temperature of an epoch. A resumed epoch gets the same again."""
    for module in network.modules():
        if isinstance(module, SepBN2d):
            module.temperature = temperature_at(epoch, sepbn.temperature, sepbn.temperature_epochs)


def _branches_of(norm: BatchNorm, count: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Scale and shift of a normalisation, `count` times `[K, C]`; it keeps none of its own."""
    ones = torch.ones_like(_statistics(norm))
    scale = ones if norm.weight is None else norm.weight.detach()
    shift = torch.zeros_like(ones) if norm.bias is None else norm.bias.detach()
    norm.register_parameter("weight", None)
    norm.register_parameter("bias", None)
    norm.affine = False
    return nn.Parameter(scale.repeat(count, 1)), nn.Parameter(shift.repeat(count, 1))


def _statistics(norm: BatchNorm) -> Tensor:
    if norm.running_mean is None:
        raise ConfigError(f"SepBN needs a batch norm with running statistics, got {norm}; set track_running_stats")
    return norm.running_mean


def _through(norm: nn.BatchNorm2d, faces: Tensor) -> Tensor:
    """What a branch makes of its faces. Of none it makes nothing, but its parameters get a gradient of zero."""
    if len(faces):
        return cast(Tensor, norm(faces))
    return faces * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)


def _accept_batch_norm(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let weights of a plain batch norm load: scale and shift into every branch, statistics into the normalisation."""
    layer = cast(SepBN2d, module)
    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        value = state.get(prefix + part)
        if value is None or value.ndim > 1:
            continue
        if part in ("weight", "bias") and layer.attention is not None:
            state[prefix + part] = value.repeat(layer.num_branches, 1)
        else:
            state[f"{prefix}norm.{part}"] = state.pop(prefix + part)
