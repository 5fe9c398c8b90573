"""The search space: rows that fit the config, hold the papers' values, and are known by a digest.

pytest tests/unit/test_space.py
"""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adodn import recipes
from adodn.errors import ConfigError
from tune.space import SPACES, Parameter, Space, get

PAPERS = {"beta": 1e-6, "eta": 1e-6, "p": 0.5, "tau_d": 0.8, "r": 8}
SEARCHED = ("adodn_300w", "adodn_300w_small", "adodn_rendered", "adodn_smoke")

_SYMBOLS = {
    "beta": ("loss.nuclear_norm",),
    "eta": ("loss.response_l1", "loss.importance_l1"),
    "p": ("model.drop_probability",),
    "tau_d": ("model.drop_threshold",),
    "r": ("model.reduction",),
}


def test_the_papers_space_searches_what_the_paper_names() -> None:
    """β, η, p, τ_d and r stand for the fields whose docstrings carry these symbols."""
    assert {row.name: row.fields for row in SPACES["papers"].parameters} == _SYMBOLS


def test_eta_can_be_searched_apart() -> None:
    """η′ and η″ tied are one number less than apart, over the same fields."""
    tied, apart = ([f for row in SPACES[name].parameters for f in row.fields] for name in ("papers", "papers_apart"))

    assert sorted(tied) == sorted(apart)
    assert len(SPACES["papers_apart"].parameters) == len(SPACES["papers"].parameters) + 1


@pytest.mark.parametrize("recipe", SEARCHED)
@pytest.mark.parametrize("name", SPACES)
def test_every_field_exists_and_every_range_holds_the_recipe(name: str, recipe: str) -> None:
    """The recipe's own values can be asked for, and setting them leaves the experiment what it was."""
    config = recipes.get(recipe)
    defaults = SPACES[name].defaults(config)

    assert SPACES[name].apply(config, defaults) == config


def test_the_defaults_are_the_papers() -> None:
    """What ADODN's paper gives, and this project's value of τ_d, which it does not give."""
    assert SPACES["papers"].defaults(recipes.adodn_300w()) == PAPERS


@pytest.mark.parametrize("name", SPACES)
@settings(deadline=None)  # a busy machine
@given(data=st.data())
def test_the_config_takes_whatever_a_space_holds(name: str, data: st.DataObject) -> None:
    """Every value within the ranges makes a config, which then has it in each of the row's fields."""
    space, config = SPACES[name], recipes.adodn_300w()
    values = {
        row.name: data.draw(st.sampled_from(row.choices) if row.choices else st.floats(row.low, row.high))
        for row in space.parameters
    }

    assert space.defaults(space.apply(config, values)) == values


def test_a_digest_is_of_the_rows_alone() -> None:
    """It does not change with their order, nor from machine to machine; it changes with any of their values."""
    space = SPACES["papers"]
    turned = Space(parameters=space.parameters[::-1])
    first = space.parameters[0]
    wider = Space(parameters=(replace(first, high=2 * (first.high or 0)), *space.parameters[1:]))

    assert space.digest() == turned.digest() == "6d7fe40cf332"
    assert wider.digest() != space.digest()


def test_a_recipe_outside_the_range_is_refused() -> None:
    """ODN without L1 has η = 0, which no log scale holds: the message names row, value and range."""
    with pytest.raises(ConfigError, match=r"'eta' must hold .* 0\.0 of loss\.response_l1 .* 1e-08 … 0\.01"):
        SPACES["papers"].defaults(recipes.odn_300w_no_l1().with_fields({"loss.importance_l1": 0.0}))


def test_tied_fields_that_differ_are_refused() -> None:
    """There would be no first trial that is the recipe."""
    with pytest.raises(ConfigError, match=r"ties .* search them apart"):
        SPACES["papers"].defaults(recipes.adodn_300w().with_fields({"loss.importance_l1": 1e-4}))


@pytest.mark.parametrize("field", ["loss.nope", "model", "train.freeze", "nope.nope"])
def test_a_field_that_is_no_single_value_is_refused(field: str) -> None:
    """Unknown fields, parts of the config and lists cannot be searched."""
    space = Space(parameters=(Parameter(name="x", fields=(field,), low=0.0, high=1.0),))

    with pytest.raises(ConfigError, match=field):
        space.defaults(recipes.adodn_300w())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"low": 0.0}, "low and high, or else choices"),
        ({"low": 0.0, "high": 1.0, "choices": (1,)}, "low and high, or else choices"),
        ({}, "low and high, or else choices"),
        ({"low": 1.0, "high": 1.0}, "low must be below high"),
        ({"low": 0.0, "high": 1.0, "scale": "log"}, "needs low above 0"),
    ],
)
def test_a_row_that_is_no_range_is_refused(row: dict[str, object], message: str) -> None:
    """Neither or both of range and choices, an empty range, a log scale at 0."""
    with pytest.raises(ConfigError, match=message):
        Parameter(name="x", fields=("train.learning_rate",), **row)  # type: ignore[arg-type]


def test_a_field_is_searched_once() -> None:
    """Two rows that set one field, or share a name, contradict each other."""
    row = SPACES["papers"].parameters[0]

    with pytest.raises(ConfigError, match=r"share the field 'loss\.nuclear_norm'"):
        Space(parameters=(row, replace(row, name="other")))
    with pytest.raises(ConfigError, match="share the name 'beta'"):
        Space(parameters=(row, replace(row, fields=("loss.head_decay",))))


def test_an_own_space_is_a_toml_file(tmp_path: Path) -> None:
    """Rows in a file are those that data in code would be."""
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[parameters]]\nname = "lr"\nfields = ["train.learning_rate"]\nlow = 1e-5\nhigh = 0.1\nscale = "log"\n'
        '[[parameters]]\nname = "r"\nfields = ["model.reduction"]\nchoices = [8, 16]\n'
    )

    assert get(str(path)).parameters == (
        Parameter(name="lr", fields=("train.learning_rate",), low=1e-5, high=0.1, scale="log"),
        Parameter(name="r", fields=("model.reduction",), choices=(8, 16)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters = 3", "parameters"),
        ('[[parameters]]\nname = "x"\nfield = ["train.seed"]\nchoices = [1]', "parameters.0.field"),
        ('[[parameters]]\nname = "x"\nfields = ["train.seed"]\nlow = 1', "low and high"),
        ("parameters = []", "must have a parameter"),
        ("[[", "no search space in TOML"),
    ],
)
def test_a_file_that_is_no_space_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The message has the place in the file."""
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=message):
        get(str(path))


def test_an_unknown_space_is_refused_with_those_there_are() -> None:
    """The message lists them."""
    with pytest.raises(ConfigError, match="unknown search space 'mine'; available: papers"):
        get("mine")
