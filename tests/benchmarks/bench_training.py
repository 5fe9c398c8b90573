"""What a training step costs, and the nuclear norm's share of it, on one thread.

import bench_training; bench_training.run()
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from adodn import losses
from tests.benchmarks.measure import Row, alternately, product_of_matrices, row
from tests.benchmarks.training_step import FACES, TrainingStep


def run() -> list[Row]:
    """The measurements `train_step` and `nuclear_norm`."""
    step = TrainingStep()
    matrix = step.network.low_rank_matrix.detach().requires_grad_()
    with FlopCounterMode(display=False) as counter:
        step()
    multiply, multiply_flops = product_of_matrices(torch.bfloat16)

    def norm() -> None:
        losses.nuclear_norm(matrix).backward()  # type: ignore[no-untyped-call]

    def stock_norm() -> None:
        torch.linalg.matrix_norm(matrix, "nuc").backward()

    def products() -> None:
        matrix.detach() @ (matrix.detach().mT @ matrix.detach())

    stepped, multiplied, ours, stock, least = alternately(step, multiply, norm, stock_norm, products)
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
            peer="torch.linalg.matrix_norm",
            share_of_step=ours.cpu_s / stepped.cpu_s,
        ),
    ]
