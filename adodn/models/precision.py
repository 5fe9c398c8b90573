"""Where a network leaves bf16: landmarks, masks and the low-rank module need more than its three digits."""

import torch
from torch import Tensor


def at_least_fp32(values: Tensor) -> Tensor:
    """bf16 and fp16 become fp32; fp32 and fp64 stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
