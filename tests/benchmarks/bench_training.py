"""What a training step costs, and the nuclear norm's share of it, on one thread.

import bench_training; bench_training.run()
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adodn import losses
from tests.benchmarks.measure import Row, alternately, product_of_matrices, row
from tests.benchmarks.training_step import FACES, TrainingStep


def run() -> list[Row]:
    """The measurements `train_step` and `nuclear_norm`."""
    step = TrainingStep()
    assert step.network.low_rank_matrix is not None
    matrix = step.network.low_rank_matrix.detach().clone()
    with FlopCounterMode(display=False) as counter:
        step()
    multiply, multiply_flops = product_of_matrices(torch.bfloat16)
    stepped, multiplied, ours, hard, stock, least = alternately(
        step,
        multiply,
        _with_gradient(losses.nuclear_norm, matrix),
        _with_gradient(losses.nuclear_norm, _ill_conditioned(*matrix.shape)),
        _with_gradient(lambda m: torch.linalg.matrix_norm(m, "nuc"), matrix),
        lambda: matrix @ (matrix.mT @ matrix),
        repeats=10,
    )
    flops_per_s = multiply_flops / multiplied.cpu_s
    return [
        row(
            "train_step",
            FACES / stepped.cpu_s,
            "faces/s/core",
            limit=FACES * flops_per_s / counter.get_total_flops(),
            limit_is="its products of matrices at the speed of a large one",
        ),
        row(
            "nuclear_norm",
            1000 * ours.cpu_s,
            "ms",
            limit=1000 * least.cpu_s,
            best_peer=1000 * stock.cpu_s,
            limit_is="two products of its size, fp32",
            peer="a full SVD, torch.linalg.matrix_norm",
            share_of_step=ours.cpu_s / stepped.cpu_s,
            share_of_step_where_ill_conditioned=hard.cpu_s / stepped.cpu_s,
            step_ms=1000 * stepped.cpu_s,
            step_is=f"adodn_300w, {FACES} faces of 224 px, bf16",
            matrix=" x ".join(map(str, matrix.shape)),
        ),
    ]


def _with_gradient(norm: Callable[[Tensor], Tensor], matrix: Tensor) -> Callable[[], object]:
    leaf = matrix.clone().requires_grad_()
    return lambda: torch.autograd.grad(norm(leaf), leaf)


def _ill_conditioned(rows: int, columns: int) -> Tensor:
    """Singular values 1 … 1e-6: fp32 does not suffice."""
    left, right = (torch.linalg.qr(torch.randn(side, columns).double()).Q for side in (rows, columns))
    return ((left * torch.logspace(0, -6, columns)) @ right).float()
