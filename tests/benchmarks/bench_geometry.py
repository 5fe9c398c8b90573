"""What the outer product of the geometry module costs, forward and backward, on one thread.

import bench_geometry; bench_geometry.run()
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from adodn.models.resnet import ResNet18
from adodn.train.step import autocast
from tests.benchmarks.measure import Row, alternately, product_of_matrices, row
from tests.benchmarks.training_step import FACES, TrainingStep

_GRID = 7
_PASSES = 4
"""Outer products and what the 1×1 convolution makes of them, and the gradients of both, go to memory and come back."""


def run() -> list[Row]:
    """The measurement `geometry_outer`, on features `[16, 512, 7, 7]`."""
    step = TrainingStep()
    module, precision = step.network.geometry, step.config.train.precision
    assert module is not None and precision == "bf16"
    features = torch.rand(FACES, ResNet18.channels, _GRID, _GRID).to(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.rand(FACES, module.channels, _GRID, _GRID).bfloat16()
    products = torch.rand(FACES, module.channels, _GRID**2, _GRID**2).bfloat16()

    def geometry() -> None:
        with autocast(precision, features.device):
            relations = module(features)
        relations.backward(gradient)

    def move() -> None:
        for _ in range(_PASSES):
            products.clone()

    with FlopCounterMode(display=False) as counter:
        geometry()
    multiply, multiply_flops = product_of_matrices(products.dtype)
    stepped, ours, moved, multiplied = alternately(step, geometry, move, multiply)
    computed_s = multiplied.cpu_s * counter.get_total_flops() / multiply_flops
    return [
        row(
            "geometry_outer",
            1000 * ours.cpu_s,
            "ms",
            limit=1000 * max(moved.cpu_s, computed_s),
            limit_is="the larger of: its bytes copied, its products of matrices at the speed of a large one",
            bytes_ms=1000 * moved.cpu_s,
            products_ms=1000 * computed_s,
            share_of_step=ours.cpu_s / stepped.cpu_s,
        )
    ]
