"""What an experiment computes, as frozen dataclasses. Where and how it runs is in `settings.py` and never here.

config = recipes.get("adodn_300w").with_fields({"train.epochs": 3})
"""

from adodn.config.data import AugmentConfig, DataConfig, Occluder, Source
from adodn.config.experiment import ExperimentConfig, check_micro_batch, local_batch, worker_counts
from adodn.config.model import LossConfig, ModelConfig, SepBNConfig
from adodn.config.training import TrainConfig

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "ExperimentConfig",
    "LossConfig",
    "ModelConfig",
    "Occluder",
    "SepBNConfig",
    "Source",
    "TrainConfig",
    "check_micro_batch",
    "local_batch",
    "worker_counts",
]
