"""One function per experiment worth a name.

    config = recipes.get("adodn_300w")
"""

from collections.abc import Callable
from dataclasses import replace

from adodn.config import AugmentConfig, DataConfig, ExperimentConfig, LossConfig, ModelConfig, TrainConfig
from adodn.errors import ConfigError

Recipe = Callable[[], ExperimentConfig]


def adodn_300w() -> ExperimentConfig:
    """ADODN with the paper's settings on 300W.

    Paper: ADODN, Tables 2 and 3: NME 2.80 Common, 5.81 Challenging, 3.35 Full, from ImageNet weights. Needs all of
    300W, ImageNet weights of ResNet-18, and a GPU. Not run here: the data is not to be had.
    """
    return ExperimentConfig(name="adodn_300w")


RECIPES: dict[str, Recipe] = {recipe.__name__: recipe for recipe in (adodn_300w,)}


def get(name: str) -> ExperimentConfig:
    """The config of that name.

    Raises:
        ConfigError: If no recipe has the name.
    """
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}; available: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
