"""One function per experiment worth a name: the rows of the papers' tables, and what can be trained at hand.

config = recipes.get("adodn_300w")
config = recipes.adodn_300w()

A recipe's docstring has the paper and the cell of its table, the expected score, what it needs, and the command.
"""

from collections.abc import Callable

from adodn.config import ExperimentConfig
from adodn.errors import ConfigError
from adodn.recipes.adodn import (
    adodn_300w,
    adodn_300w_adm_lm,
    adodn_300w_brnet,
    adodn_300w_gm_adm,
    adodn_300w_gm_lm,
)
from adodn.recipes.cnt import (
    cnt_mobilenet,
    cnt_mobilenet_stage1,
    cnt_resnext,
    cnt_resnext_stage1,
    cnt_sepbn_mobilenet,
    cnt_sepbn_mobilenet_stage1,
    cnt_sepbn_resnext,
    cnt_sepbn_resnext_stage1,
    cnt_sepbn_vanilla,
    cnt_sepbn_vanilla_stage1,
    cnt_smoke,
    cnt_smoke_stage1,
    cnt_vanilla,
    cnt_vanilla_stage1,
    mobilenet_bn,
    mobilenet_sepbn,
    resnext_bn,
    resnext_sepbn,
    vanilla_bn,
    vanilla_sepbn,
)
from adodn.recipes.odn import (
    odn_300w,
    odn_300w_brnet,
    odn_300w_dm_lm,
    odn_300w_gm_dm,
    odn_300w_gm_lm,
    odn_300w_no_l1,
    odn_aflw,
)
from adodn.recipes.small import (
    adodn_300w_small,
    adodn_rendered,
    adodn_smoke,
    brnet_300w_small,
    cnt_small,
    cnt_small_alone,
    cnt_small_stage1,
    odn_300w_small,
    odn_smoke,
)

Recipe = Callable[[], ExperimentConfig]

RECIPES: dict[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (
        adodn_300w,
        adodn_300w_brnet,
        adodn_300w_gm_lm,
        adodn_300w_gm_adm,
        adodn_300w_adm_lm,
        odn_300w,
        odn_300w_brnet,
        odn_300w_gm_dm,
        odn_300w_dm_lm,
        odn_300w_gm_lm,
        odn_300w_no_l1,
        odn_aflw,
        vanilla_bn,
        vanilla_sepbn,
        cnt_vanilla_stage1,
        cnt_vanilla,
        cnt_sepbn_vanilla_stage1,
        cnt_sepbn_vanilla,
        mobilenet_bn,
        mobilenet_sepbn,
        cnt_mobilenet_stage1,
        cnt_mobilenet,
        cnt_sepbn_mobilenet_stage1,
        cnt_sepbn_mobilenet,
        resnext_bn,
        resnext_sepbn,
        cnt_resnext_stage1,
        cnt_resnext,
        cnt_sepbn_resnext_stage1,
        cnt_sepbn_resnext,
        adodn_300w_small,
        odn_300w_small,
        brnet_300w_small,
        cnt_small_stage1,
        cnt_small,
        cnt_small_alone,
        adodn_rendered,
        adodn_smoke,
        odn_smoke,
        cnt_smoke_stage1,
        cnt_smoke,
    )
}
"""By name, each paper's main row before its ablations."""


def get(name: str) -> ExperimentConfig:
    """The config of that name.

    Raises:
        ConfigError: If no recipe has the name.
    """
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}; available: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
