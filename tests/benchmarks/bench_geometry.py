"""What the geometry module costs, forward and backward, on one thread, beside Eq. 1 written out with stock operators.

import bench_geometry; bench_geometry.run()
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from adodn.models.geometry import GeometryModule
from adodn.models.resnet import ResNet18
from adodn.train.step import autocast
from tests.benchmarks.measure import Row, alternately, product_of_matrices, row
from tests.benchmarks.training_step import FACES, TrainingStep

_GRID = 7


def run() -> list[Row]:
    """The measurement `geometry_outer`, on features `[32, 512, 7, 7]`."""
    step = TrainingStep()
    module, precision = step.network.geometry, step.config.train.precision
    assert module is not None and precision == "bf16"
    features = torch.rand(FACES, ResNet18.channels, _GRID, _GRID).to(memory_format=torch.channels_last)
    plain, ours = (partial(_learn, form, features, precision) for form in (partial(_written_out, module), module))
    predict_plain, predict = (
        partial(_predict, module, form, features, precision) for form in (partial(_written_out, module), module)
    )
    macs = _macs(predict_plain)
    multiply, multiply_flops = product_of_matrices(torch.bfloat16)
    # What comes next after a step finds cold caches: the multiplication, not one of those that are compared.
    stepped, multiplied, spent, spent_plain, forward, forward_plain = alternately(
        step, multiply, ours, plain, predict, predict_plain, repeats=10
    )
    return [
        row(
            "geometry_outer",
            1000 * spent.cpu_s,
            "ms",
            # A backward pass takes twice the products of a forward pass.
            limit=1000 * 3 * 2 * macs * multiplied.cpu_s / multiply_flops,
            best_peer=1000 * spent_plain.cpu_s,
            limit_is="its products of matrices at the speed of a large one",
            peer="Eq. 1 written out with stock operators",
            share_of_step=spent.cpu_s / stepped.cpu_s,
            evaluation_ms=1000 * forward.cpu_s,
            evaluation_ms_peer=1000 * forward_plain.cpu_s,
            memory_mib=_peak_mib(ours),
            memory_mib_peer=_peak_mib(plain),
            parameters=sum(values.numel() for values in module.parameters()),
            macs_per_face=macs / FACES,
            step_is=f"adodn_300w, {FACES} faces of 224 px, bf16",
        )
    ]


def _written_out(module: GeometryModule, features: Tensor) -> Tensor:
    """Eq. 1 as it reads: all products of the batch, 1×1 convolution, batch norm, ReLU, pool."""
    a, b = module.pathway_a(features).flatten(2), module.pathway_b(features).flatten(2)
    relations = torch.relu(module.norm(module.combine(a.unsqueeze(-1) * b.unsqueeze(-2))))
    return nn.functional.adaptive_avg_pool2d(relations, _GRID)


def _learn(form: Callable[[Tensor], Tensor], features: Tensor, precision: str) -> None:
    with autocast(precision, features.device):
        relations = form(features.detach().requires_grad_())
    relations.backward(relations.detach())  # type: ignore[no-untyped-call]


@torch.inference_mode()
def _predict(module: GeometryModule, form: Callable[[Tensor], Tensor], features: Tensor, precision: str) -> None:
    module.eval()
    with autocast(precision, features.device):
        form(features)
    module.train()


def _macs(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def _peak_mib(call: Callable[[], object]) -> float:
    """The most that a call holds at a time beyond what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    assert profiled.profiler is not None
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return float(held.cumsum(0).max()) / 2**20
