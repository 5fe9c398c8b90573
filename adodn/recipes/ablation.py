"""The rows of an ablation table: an experiment with some of its modules left out.

ablation(adodn_300w(), "adodn_300w_gm_lm", keep=("GM", "LM"))
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Literal, TypeAlias

from adodn.config import ExperimentConfig

Module: TypeAlias = Literal["GM", "OM", "LM"]
"""Geometry-aware module; occlusion module, which is ODN's DM or ADODN's ADM; low-rank module."""


def ablation(base: ExperimentConfig, name: str, *, keep: Collection[Module] = ()) -> ExperimentConfig:
    """`base` under another name with these modules only; with none it is BRNet. Nothing else changes.

    Without LM the loss has no nuclear norm, without OM no L1 norm of a map, whatever their weights.
    """
    model = replace(
        base.model,
        geometry=base.model.geometry if "GM" in keep else "none",
        occlusion=base.model.occlusion if "OM" in keep else "none",
        low_rank="LM" in keep,
    )
    return replace(base, name=name, model=model)
