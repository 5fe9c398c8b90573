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


def adodn_300w_small() -> ExperimentConfig:
    """ADODN from random weights for as much of 300W as there is: 3.97 % on HELEN's test faces.

    Took 134 minutes on two busy CPU cores, for 1,911 faces.

    Departs from the paper where a short training from nothing needs it: smooth L1, one-cycle schedule, 60 epochs,
    coloured patches on 30 % of the faces. EXPERIMENTS.md has its score and the command.
    """
    return ExperimentConfig(
        name="adodn_300w_small",
        loss=LossConfig(regression="smooth_l1"),
        data=DataConfig(augment=AugmentConfig(occlusion_probability=0.3, occluders=("patch",))),
        train=TrainConfig(epochs=60, schedule="one_cycle", precision="bf16"),
    )


def brnet_300w_small() -> ExperimentConfig:
    """The plain trunk (BRNet, first row of the paper's Table 4) trained as `adodn_300w_small`: what the modules add."""
    base = adodn_300w_small()
    plain = ModelConfig(geometry="none", occlusion="none", low_rank=False)
    return replace(base, name="brnet_300w_small", model=plain)


def adodn_rendered() -> ExperimentConfig:
    """ADODN on rendered faces at 64 px: the demo. Minutes on two CPU cores."""
    base = adodn_300w_small()
    return replace(
        base,
        name="adodn_rendered",
        model=ModelConfig(input_px=64, grid=2, rank_width=64, drop_warmup_epochs=2),
        train=replace(base.train, epochs=8, precision="fp32"),
    )


def adodn_smoke() -> ExperimentConfig:
    """The smallest training that still goes through every module: seconds. For tests; its score means nothing."""
    base = adodn_rendered()
    return replace(
        base,
        name="adodn_smoke",
        model=ModelConfig(input_px=64, grid=2, rank_width=16, drop_warmup_epochs=1, batch_norm_faces=4),
        train=replace(base.train, epochs=3, global_batch=16),
    )


RECIPES: dict[str, Recipe] = {
    recipe.__name__: recipe for recipe in (adodn_300w, adodn_300w_small, brnet_300w_small, adodn_rendered, adodn_smoke)
}


def get(name: str) -> ExperimentConfig:
    """The config of that name.

    Raises:
        ConfigError: If no recipe has the name.
    """
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}; available: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
