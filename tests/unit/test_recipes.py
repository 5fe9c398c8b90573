"""Recipes against the papers' own figures, and against each other.

pytest tests/unit/test_recipes.py
"""

import json
import re
from typing import Any

import pytest

from adodn import recipes
from adodn.errors import ConfigError
from adodn.recipes.ablation import ablation

MAIN = {"adodn": "adodn_300w", "odn": "odn_300w"}
PUBLISHED = [name for name in recipes.RECIPES if name.startswith(("adodn_300w", "odn_300w")) and "small" not in name]


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return found


def fields(name: str) -> dict[str, object]:
    return {field: value for field, value in leaves(json.loads(recipes.get(name).to_json())).items() if field != "name"}


def changed(one: str, other: str) -> dict[str, object]:
    """Fields of `one` in which it differs from `other`."""
    theirs = fields(other)
    return {field: value for field, value in fields(one).items() if value != theirs[field]}


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_recipe_says_what_it_is_for(name: str) -> None:
    """It bears its function's name; its docstring has its command, and the paper's figure or what became of it here."""
    told = recipes.RECIPES[name].__doc__ or ""

    assert recipes.get(name).name == name
    assert f"adodn train --recipe {name} --dataset s3://" in told
    assert any(word in told for word in ("Paper: Table", "Took ", "ot run here"))


@pytest.mark.parametrize(
    "name", [name for name, recipe in recipes.RECIPES.items() if recipe.__module__ != "adodn.recipes.small"]
)
def test_a_published_row_says_what_it_takes(name: str) -> None:
    """Data, weights to begin with, hardware and time, as far as the paper has them, or what they were here."""
    told = " ".join((recipes.RECIPES[name].__doc__ or "").split())

    if "_smoke" in name:
        assert "Took seconds" in told
    else:
        assert re.search(r"Needs .*\b(300W|AFLW|COFW)\b.*\. The paper .* no time; not run here\.", told)
        assert ("--weights" in told) == (".pth`" in told)


def test_recipes_are_different_experiments() -> None:
    """No two have the same fingerprint, except trainings that differ in their dataset alone."""
    prints = {name: recipes.get(name).fingerprint() for name in recipes.RECIPES if name != "odn_aflw"}

    assert len(set(prints.values())) == len(prints)
    assert changed("odn_aflw", "odn_300w") == {}


@pytest.mark.parametrize("name", ["adodn_300w", "odn_300w", "odn_aflw"])
def test_settings_are_those_that_the_papers_print(name: str) -> None:
    """What ADODN §V-B and ODN §5 give as numbers, written out once more."""
    printed = {
        "model.backbone": "resnet18",
        "model.input_px": 224,
        "loss.regression": "squared",
        "loss.nuclear_norm": 1e-6,
        "loss.response_l1": 1e-6,
        "loss.low_rank_decay": 1e-5,
        "loss.convolution_decay": 1e-5,
        "loss.head_decay": 1e-5,
    }
    if name == "adodn_300w":
        printed |= {
            "model.reduction": 8,
            "model.drop_probability": 0.5,
            "loss.importance_l1": 1e-6,
            "train.global_batch": 32,
            "train.learning_rate": 1e-3,
            "train.schedule": "plateau",
            "train.plateau_factor": 0.1,
            "train.early_stop_patience": 50,
            "data.augment.rotation_deg": 30.0,
            "data.augment.scale": 0.2,
            "data.augment.translation": 0.1,
            "data.augment.flip_probability": 0.5,
        }
    else:
        printed |= dict.fromkeys(("data.augment.brightness", "data.augment.contrast", "data.augment.saturation"), 0.0)

    assert {field: fields(name)[field] for field in printed} == printed


def test_odn_and_adodn_differ_in_their_modules_alone() -> None:
    """Two modules, and the jitter of colours that only ADODN names; at hand, the two modules and nothing else."""
    modules = {"model.geometry": "row_column", "model.occlusion": "distillation"}
    jitter = {f"data.augment.{name}": 0.0 for name in ("brightness", "contrast", "saturation")}

    assert changed("odn_300w", "adodn_300w") == modules | jitter
    assert changed("odn_300w_small", "adodn_300w_small") == modules


@pytest.mark.parametrize(
    ("row", "without"),
    [
        ("brnet", {"geometry", "occlusion", "low_rank"}),
        ("gm_lm", {"occlusion"}),
        ("gm_adm", {"low_rank"}),
        ("gm_dm", {"low_rank"}),
        ("adm_lm", {"geometry"}),
        ("dm_lm", {"geometry"}),
    ],
)
def test_an_ablation_lacks_its_modules_and_changes_nothing_else(row: str, without: set[str]) -> None:
    """Each row of both Tables 4 is the paper's own network less the modules that the row does not name."""
    absent = {f"model.{module}": False if module == "low_rank" else "none" for module in without}
    named = [name for name in PUBLISHED if name.endswith(f"_{row}")]

    assert named
    for name in named:
        assert changed(name, MAIN[name.partition("_")[0]]) == absent


def test_all_rows_of_both_ablations_are_there() -> None:
    """ADODN's Table 4 has five rows, ODN's six, the whole network among them."""
    assert {name for name in PUBLISHED if name.startswith("adodn")} == {
        f"adodn_300w{row}" for row in ("", "_brnet", "_gm_lm", "_gm_adm", "_adm_lm")
    }
    assert {name for name in PUBLISHED if name.startswith("odn")} == {
        f"odn_300w{row}" for row in ("", "_brnet", "_gm_dm", "_dm_lm", "_gm_lm", "_no_l1")
    }


def test_odn_without_l1_lacks_eta_alone() -> None:
    """Row 5 of ODN's Table 4 has all modules, and η = 0."""
    assert changed("odn_300w_no_l1", "odn_300w") == {"loss.response_l1": 0.0}


def test_an_ablation_that_keeps_all_is_its_base() -> None:
    """Only the name is another."""
    base = recipes.adodn_300w()

    assert ablation(base, "again", keep=("GM", "OM", "LM")).fingerprint() == base.fingerprint()


def test_an_unknown_recipe_names_those_that_exist() -> None:
    """The message lists them."""
    with pytest.raises(ConfigError, match=r"unknown recipe 'odm_300w'; available: .*odn_300w\b"):
        recipes.get("odm_300w")
