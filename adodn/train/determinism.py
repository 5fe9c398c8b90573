"""Seeds, and equal bits from run to run where an experiment asks for them. Called once in a process that trains.

prepare_process(config.train)
"""

import os

import torch

from adodn.config import TrainConfig


def prepare_process(train: TrainConfig) -> None:
    """Seed torch; under `deterministic`, also refuse every operation that cannot promise equal bits.

    Call it before anything is computed: CUDA's libraries read their environment when they start.
    """
    torch.manual_seed(train.seed)
    if train.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(train.deterministic)
    # Measuring which kernel is fastest may choose another one each time.
    torch.backends.cudnn.benchmark = False
