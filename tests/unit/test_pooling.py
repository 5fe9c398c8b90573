"""Pools against torch's own, which promise equal bits on no GPU, in value and gradient.

pytest tests/unit/test_pooling.py
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adodn import models, recipes
from adodn.models.pooling import MaxPool2d, MeanPool2d, mean_pool

SIDES = st.integers(1, 9)
REFUSED = ("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_bilinear2d", "grid_sampler")
"""What torch refuses to differentiate on CUDA where determinism is asked for, of all that networks like ours use."""


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def gradient(of: Tensor, features: Tensor) -> Tensor:
    weights = torch.arange(of.numel(), dtype=of.dtype).view(of.shape)
    return torch.autograd.grad((of * weights).sum(), features)[0]


@settings(deadline=None)
@given(height=SIDES, width=SIDES, down=SIDES, across=SIDES)
def test_means_are_torchs(height: int, width: int, down: int, across: int) -> None:
    """Value and gradient of `adaptive_avg_pool2d`, also where cells overlap or outnumber places."""
    features = drawn(2, 3, height, width)
    ours, theirs = mean_pool(features, (down, across)), F.adaptive_avg_pool2d(features, (down, across))

    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(ours, features), gradient(theirs, features), rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(height=SIDES, width=SIDES, side=SIDES, equal=st.booleans())
def test_maxima_are_torchs(height: int, width: int, side: int, equal: bool) -> None:
    """Value to the bit, and the gradient at the same places even where several are largest."""
    features = torch.zeros(2, 3, height, width).double().requires_grad_() if equal else drawn(2, 3, height, width)
    ours, theirs = MaxPool2d(side)(features), F.adaptive_max_pool2d(features, side)

    assert torch.equal(ours, theirs)
    torch.testing.assert_close(gradient(ours, features), gradient(theirs, features), rtol=1e-12, atol=0)


def test_memory_order_changes_no_value() -> None:
    """Channels last or first."""
    features = drawn(2, 5, 7, 7)
    for pool in (MeanPool2d(4), MaxPool2d(3)):
        torch.testing.assert_close(pool(features.contiguous(memory_format=torch.channels_last)), pool(features))


def differentiated(tensor: Tensor) -> set[str]:
    """Names of all operations on the way back from a tensor, as autograd has them less `Backward0`, in lower case."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return {type(node).__name__.partition("Backward")[0].lower() for node in seen}


@pytest.mark.parametrize(
    "recipe", ["adodn_300w", "odn_300w", "vanilla_sepbn", "mobilenet_sepbn", "resnext_sepbn", "cnt_sepbn_vanilla"]
)
def test_no_network_differentiates_what_cuda_refuses(recipe: str) -> None:
    """Nothing on the way back through a network is among what torch cannot do with equal bits on CUDA."""
    config = recipes.get(recipe)
    network = models.build(config.model).eval()
    side = config.model.input_px
    names = differentiated(network(torch.zeros(1, 3, side, side)).landmarks.sum())

    assert "addmm" in names  # it did walk through the head
    assert names.isdisjoint(name.replace("_", "") for name in REFUSED)
