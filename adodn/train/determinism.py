"""Seeds, precision, and equal bits from run to run where an experiment asks. Called once in a process that trains.

prepare_process(config.train)
"""

import os

import torch

from adodn.config import TrainConfig


def prepare_process(train: TrainConfig) -> None:
    """Seed torch and keep fp32 at fp32; under `deterministic`, also refuse what cannot promise equal bits.

    Call it before anything is computed: CUDA's libraries read their environment when they start.
    """
    torch.manual_seed(train.seed)
    if train.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(train.deterministic)
    # Measuring which kernel is fastest may choose another one each time.
    torch.backends.cudnn.benchmark = False
    # fp32 on every device: CUDA's convolutions would round to TF32, 10 bits of mantissa for 23. Through this switch
    # alone: where the newer `fp32_precision` is set beside it, torch refuses to read it.
    torch.backends.cudnn.allow_tf32 = False
