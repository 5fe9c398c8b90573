"""The nuclear norm of the low-rank module's matrix, the subgradient of least norm, and the spectrum both come from.

    norm, singular = nuclear_norm_and_spectrum(matrix)
    norm.backward()                          # U_r V_rᵀ
    effective_rank(singular)                 # no second decomposition

Not a full SVD, and nothing is kept from step to step. With MᵀM = V Σ² Vᵀ, the Gram matrix of the shorter side, in fp64
because squaring doubles the digits that are needed:

    ‖M‖_* = Σ σ,        U_r V_rᵀ = M (V_r Σ_r⁻¹ V_rᵀ).

Two products with the long side are what it costs, the eigenvectors a tenth. Of the first only the lower triangle is
made; the second is left to the backward pass. Both go over the rows in blocks that fit into a core's second cache.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ROWS = 1024
"""Rows that are in fp64 at a time: of the whole matrix in fp64, most of the time would go to memory."""
_COLUMNS = 128
"""Columns of the Gram matrix made at a time: narrower ones waste less above the diagonal, but multiply more slowly."""
_SINGLE_PRECISION_SPREAD = 1e-3
"""Where the least singular value that counts is this share of the largest or more, fp32 leaves U_r V_rᵀ four digits."""


def nuclear_norm(matrix: Tensor) -> Tensor:
    """‖M‖_*, the sum of the singular values of a matrix `[d, k]`.

    Its gradient is U_r V_rᵀ (ADODN Eq. 7), the subgradient of least norm: singular values that rounding cannot tell
    from zero do not count, so it stays finite for rank-deficient and zero matrices.

    Returns:
        A scalar of the matrix's dtype, at least fp32.
    """
    return nuclear_norm_and_spectrum(matrix)[0]


def nuclear_norm_and_spectrum(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """`nuclear_norm`, and the singular values that it sums.

    Returns:
        The norm, and `[min(d, k)]` singular values, largest first, of the norm's dtype; these have no gradient.
    """
    norm, singular = _NuclearNorm.apply(matrix)  # type: ignore[no-untyped-call]
    return norm, singular


def effective_rank(singular: Tensor) -> Tensor:
    """exp of the entropy of normalised singular values `[k]` (Roy & Vetterli, EUSIPCO 2007); 0 if all are zero."""
    total = singular.sum()
    entropy = torch.special.entr(singular / torch.where(total > 0, total, 1)).sum()
    return torch.where(total > 0, entropy.exp(), 0)


class _NuclearNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        eigenvalues, right = torch.linalg.eigh(_gram(_tall(matrix)))
        singular = eigenvalues.clamp(min=0).sqrt()
        ctx.save_for_backward(matrix, singular, right)
        precision = torch.promote_types(matrix.dtype, torch.float32)
        descending = singular.flip(0).to(precision)
        ctx.mark_non_differentiable(descending)
        return singular.sum().to(precision), descending

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
        matrix, singular, right = ctx.saved_tensors
        kept = singular > _rank_tolerance(matrix.dtype) * singular.amax()
        inverse = torch.where(kept, singular, torch.inf).reciprocal()
        to_polar = (right * (gradient * inverse)) @ right.mT
        narrow = inverse.amax() * singular.amax() <= 1 / _SINGLE_PRECISION_SPREAD
        precision = torch.promote_types(matrix.dtype, torch.float32) if narrow else torch.float64
        scaled = torch.empty_like(matrix)
        with torch.autocast(matrix.device.type, enabled=False):
            _multiply(_tall(matrix), to_polar.to(precision), into=_tall(scaled))
        return scaled


def _tall(matrix: Tensor) -> Tensor:
    """A view, turned if the matrix is wider than high."""
    return matrix.mT if matrix.shape[0] < matrix.shape[1] else matrix


def _gram(tall: Tensor) -> Tensor:
    """The lower triangle of MᵀM, and some of the upper: `[d, k]` → `[k, k]`, fp64."""
    width = tall.shape[1]
    made = tall.new_zeros(width, width, dtype=torch.float64)
    for block in torch.split(tall, _ROWS):
        rows = block.double()
        for start in range(0, width, _COLUMNS):
            columns = slice(start, start + _COLUMNS)
            made[start:, columns].addmm_(rows[:, start:].mT, rows[:, columns])
    return made


def _multiply(tall: Tensor, square: Tensor, *, into: Tensor) -> None:
    """`[d, k]` times `[k, k]`, in the precision of the latter."""
    for rows, out in zip(torch.split(tall, _ROWS), torch.split(into, _ROWS), strict=True):
        out.copy_(rows.to(square.dtype) @ square)


def _rank_tolerance(dtype: torch.dtype) -> float:
    """Below this share of the largest singular value, a stored matrix cannot hold one: it is rounding."""
    return max(4 * torch.finfo(dtype).eps, 3e-8) if dtype != torch.float64 else 3e-8
