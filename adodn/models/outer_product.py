"""The channel-wise outer product of ADODN's Eq. 1 up to its pooled map, without the products of a whole batch.

    relations = pooled_relations(a, b, combine.weight, norm)

The same as `avg_pool2d(relu(norm(conv1x1(a ⊗ b))), …)`, the statistics that `norm` keeps included. Written out, the
products are `[B, G, S, S]` and are passed over a dozen times. Not a module of its own, and not for norms other than
`VirtualBatchNorm2d`.

Symbols: B batch, G channels, H×W grid, S = H·W; s and t places, c channel in, g channel out.

**Batch norm from moments.** A product is p[c,s,t] = a[c,s] b[c,t], and the convolution z[g,s,t] = Σ_c K[g,c] p[c,s,t].
Means over s and t part into one factor for each pathway:

    mean p[c]        = mean_s a[c,s] · mean_t b[c,t]
    mean p[c] p[c′]  = mean_s a[c,s] a[c′,s] · mean_t b[c,t] b[c′,t]        (two Gram matrices, entry by entry)

so that with their means over the faces of a run, m `[G]` and Q `[G, G]`, the batch norm's statistics are

    mean z = K m,        var z = diag(K (Q - m mᵀ) Kᵀ),

at the cost of two `[G, S]` Gram matrices a face. Q - m mᵀ cancels, hence fp64. What follows is affine and goes into the
convolution: K′ = diag(γ / √(var + ε)) K, β′ = β - γ mean / √(var + ε). Gradients of the statistics are autograd's.

**Tiles.** What is left, pool(relu(K′p + β′)), is done for a few faces at a time, in the processor's cache, and done
again in the backward pass, so that only a, b, K′ and β′ are kept. With δ the gradient before the ReLU (the pooled
map's, spread over its block, where K′p + β′ > 0) and q = K′ᵀδ:

    ∂K′ = Σ_st δ pᵀ,   ∂β′ = Σ_st δ,   ∂a[c,s] = Σ_t q[c,s,t] b[c,t],   ∂b[c,t] = Σ_s q[c,s,t] a[c,s].
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from adodn.models.batch_norm import VirtualBatchNorm2d
from adodn.models.precision import at_least_fp32

_TILE = {"cpu": 2**19}
"""Products held at a time: 1 MiB in bf16, which a core's second cache holds beside what is made of them."""
_TILE_ELSEWHERE = 2**24
"""Where a tile is a launch and caches count less."""


def pooled_relations(a: Tensor, b: Tensor, weight: Tensor, norm: VirtualBatchNorm2d) -> Tensor:
    """Eq. 1, convolved, normalised, rectified, pooled to the grid.

    Args:
        a: Pathway A, `[B, G, H, W]`. Products are formed in its precision.
        b: Pathway B, the same.
        weight: K, `[G, G, 1, 1]`.
        norm: Normalises the convolved products; in training its running statistics follow.

    Returns:
        `[B, G, H, W]`, none negative, of a's precision.

    Raises:
        ValueError: In training, if B is not a multiple of `norm.faces`.
    """
    grid, precision = (a.shape[-2], a.shape[-1]), a.dtype
    with torch.autocast(a.device.type, enabled=False):
        mixing = at_least_fp32(weight).flatten(1)
        # Gradients of tiles and of statistics largely cancel, so both are added in fp32.
        places_a, places_b = (at_least_fp32(pathway).flatten(2).mT.contiguous() for pathway in (a, b))
        if not norm.training:
            assert norm.running_mean is not None and norm.running_var is not None
            folded = _fold(mixing, norm, norm.running_mean, norm.running_var)
            return _pooled(places_a, places_b, *folded, grid, precision)
        runs = list(zip(norm.runs(places_a), norm.runs(places_b), strict=True))
        statistics = [_mean_and_variance(*run, mixing) for run in runs]
        _follow(norm, statistics, of=norm.faces * (grid[0] * grid[1]) ** 2)
        pooled = [
            _pooled(*run, *_fold(mixing, norm, *moments), grid, precision)
            for run, moments in zip(runs, statistics, strict=True)
        ]
        return torch.cat(pooled)


def _mean_and_variance(a: Tensor, b: Tensor, mixing: Tensor) -> tuple[Tensor, Tensor]:
    """Of the convolved products over a run: 2 × `[faces, S, G]` → 2 × `[G]`; the variance is the biased one."""
    precision, places = a.dtype, a.shape[1]
    a, b, mixing = a.double(), b.double(), mixing.double()
    mean = (a.mean(1) * b.mean(1)).mean(0)
    square = ((a.mT @ a) * (b.mT @ b)).mean(0) / places**2
    covariance = square - torch.outer(mean, mean)
    variance = ((mixing @ covariance) * mixing).sum(1).clamp(min=0)
    return (mixing @ mean).to(precision), variance.to(precision)


def _fold(mixing: Tensor, norm: VirtualBatchNorm2d, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """K′ `[G, G]` and β′ `[G]`: convolution and normalisation as one affine map."""
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return scale.unsqueeze(1) * mixing, norm.bias - scale * mean


def _follow(norm: VirtualBatchNorm2d, statistics: list[tuple[Tensor, Tensor]], *, of: int) -> None:
    """Let running statistics follow, the variance without bias, as batch norm has it."""
    means, variances = (torch.stack(moments).detach().mean(0) for moments in zip(*statistics, strict=True))
    norm.follow(means, variances * (of / (of - 1)))


def _pooled(
    a: Tensor, b: Tensor, mixing: Tensor, bias: Tensor, grid: tuple[int, int], precision: torch.dtype
) -> Tensor:
    result: Tensor = _Pooled.apply(a, b, mixing, bias, grid, precision)  # type: ignore[no-untyped-call]
    return result


class _Pooled(torch.autograd.Function):
    """pool(relu(K′p + β′)): 2 × `[B, S, G]`, `[G, G]`, `[G]` → `[B, G, H, W]`."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, mixing: Tensor, bias: Tensor, grid: tuple[int, int], precision: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(a, b, mixing, bias)
        ctx.grid, ctx.precision = grid, precision
        a, b, mixing, bias = (given.to(precision) for given in (a, b, mixing, bias))
        places, channels, (height, width) = a.shape[1], a.shape[2], grid
        made = []
        for tile_a, tile_b in _tiles(a, b):
            rectified = F.linear(_products(tile_a, tile_b), mixing, bias).relu_()
            maps = rectified.view(-1, places, places, channels).permute(0, 3, 1, 2)
            made.append(F.avg_pool2d(maps, (width, height)))
        return torch.cat(made)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        grad_a, grad_b, grad_mixing, grad_bias = (torch.zeros_like(given) for given in saved)
        a, b, mixing, bias = (given.to(ctx.precision) for given in saved)
        shares = gradient.permute(0, 2, 3, 1).contiguous() / a.shape[1]  # a cell is the mean of S products
        for tile_a, tile_b, share, into_a, into_b in _tiles(a, b, shares, grad_a, grad_b):
            products = _products(tile_a, tile_b)
            delta = _delta(share, F.linear(products, mixing, bias), ctx.grid)
            grad_mixing += delta.T @ products
            grad_bias += delta.sum(0)
            back = (delta @ mixing).view(*tile_a.shape[:2], *tile_b.shape[1:])
            into_a.copy_((back * tile_b.unsqueeze(1)).sum(2))
            into_b.copy_((back * tile_a.unsqueeze(2)).sum(1))
        return grad_a, grad_b, grad_mixing, grad_bias, None, None


def _products(a: Tensor, b: Tensor) -> Tensor:
    """2 × `[n, S, G]` → `[n · S · S, G]`."""
    return (a.unsqueeze(2) * b.unsqueeze(1)).flatten(0, 2)


def _delta(share: Tensor, mixed: Tensor, grid: tuple[int, int]) -> Tensor:
    """A cell's gradient, `[n, H, W, G]`, at every product of its block that the ReLU let through: `[n · S · S, G]`."""
    height, width = grid
    blocks = mixed.view(-1, height, width, width, height, mixed.shape[1])
    spread = share[:, :, None, :, None].expand_as(blocks)
    # The ReLU's own backward: a comparison and `where` take six times as long.
    let_through: Tensor = torch.ops.aten.threshold_backward(spread, blocks, 0)
    return let_through.view_as(mixed)


def _tiles(a: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Equal runs of faces of each, as many as a tile may hold, one at least."""
    products = a.shape[1] ** 2 * a.shape[2]
    faces = max(1, _TILE.get(a.device.type, _TILE_ELSEWHERE) // products)
    return zip(*(torch.split(each, faces) for each in (a, *others)), strict=True)
