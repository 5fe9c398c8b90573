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
        adodn_300w_small,
        odn_300w_small,
        brnet_300w_small,
        adodn_rendered,
        adodn_smoke,
        odn_smoke,
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
