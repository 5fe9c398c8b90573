"""What is searched, as data: a row for each parameter. Reading this file tells it all; a new line searches more.

    space = get("papers")                        # or a file: read_space(Path("mine.toml"))
    space.defaults(recipes.adodn_300w())         # {"beta": 1e-06, "eta": 1e-06, "p": 0.5, "tau_d": 0.8, "r": 8}
    config = space.apply(config, {"p": 0.3, …})

It knows nothing of Optuna or Ray; how values are drawn is `searcher.py`'s.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adodn.config import ExperimentConfig
from adodn.errors import ConfigError

Scalar: TypeAlias = bool | int | float | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One thing that is searched: a range of numbers, or some choices.

    Raises:
        ConfigError: If it is neither or both, or the range is none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    fields: Annotated[tuple[str, ...], Field(min_length=1)]
    """Dotted fields of the config that take the value, all of them the same."""
    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log"] = "linear"
    choices: tuple[Scalar, ...] = ()
    """In place of a range."""

    def __post_init__(self) -> None:
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.choices) or (self.low is None) != (self.high is None):
            raise ConfigError(f"parameter {self.name!r} must have low and high, or else choices; give one of the two")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ConfigError(f"parameter {self.name!r}: low must be below high, got {self.low!r} and {self.high!r}")
        if self.scale == "log" and not (self.low is not None and self.low > 0):
            raise ConfigError(f"parameter {self.name!r}: a log scale needs low above 0, got {self.low!r}")

    def holds(self, value: Scalar) -> bool:
        """Whether the search can come to a value."""
        if self.choices:
            return value in self.choices
        assert self.low is not None and self.high is not None  # by __post_init__
        return isinstance(value, int | float) and math.isfinite(value) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """All that one search searches.

    Raises:
        ConfigError: If there are no parameters, or two share a name or a field.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        fields = [field for parameter in self.parameters for field in parameter.fields]
        for words, what in ((names, "name"), (fields, "field")):
            twice = sorted({word for word in words if words.count(word) > 1})
            if twice:
                raise ConfigError(f"two parameters of a search space share the {what} {twice[0]!r}; leave one out")
        if not names:
            raise ConfigError("a search space must have a parameter, got none; add a row")

    def defaults(self, config: ExperimentConfig) -> dict[str, Scalar]:
        """The parameters as an experiment has them: where every search begins.

        Raises:
            ConfigError: If a field does not exist, tied fields differ, or the search could never come to the value.
        """
        return {parameter.name: _default(parameter, config) for parameter in self.parameters}

    def apply(self, config: ExperimentConfig, values: Mapping[str, Scalar]) -> ExperimentConfig:
        """The experiment with these values, by the parameters' names.

        Raises:
            ConfigError: If a field does not exist, or the config refuses a value.
        """
        return config.with_fields(self.fields_of(values))

    def fields_of(self, values: Mapping[str, Scalar]) -> dict[str, object]:
        """Dotted field → value, as `ExperimentConfig.with_fields` takes it."""
        return {field: values[parameter.name] for parameter in self.parameters for field in parameter.fields}

    def rows(self) -> dict[str, dict[str, Any]]:
        """Name → row, as plain JSON."""
        return {row["name"]: row for row in json.loads(json.dumps(asdict(self)))["parameters"]}

    def digest(self) -> str:
        """12 hex digits over all rows, in any order."""
        canonical = json.dumps(self.rows(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


# The papers give single values; the ranges are ours, wide enough for what the losses can bear.
_BETA = Parameter(name="beta", fields=("loss.nuclear_norm",), low=1e-8, high=1e-2, scale="log")
_ETA = Parameter(name="eta", fields=("loss.response_l1", "loss.importance_l1"), low=1e-8, high=1e-2, scale="log")
_ETA_RESPONSE = Parameter(name="eta_response", fields=("loss.response_l1",), low=1e-8, high=1e-2, scale="log")
_ETA_IMPORTANCE = Parameter(name="eta_importance", fields=("loss.importance_l1",), low=1e-8, high=1e-2, scale="log")
_P = Parameter(name="p", fields=("model.drop_probability",), low=0.0, high=1.0)
_TAU_D = Parameter(name="tau_d", fields=("model.drop_threshold",), low=0.1, high=1.0)
_R = Parameter(name="r", fields=("model.reduction",), choices=(4, 8, 16, 32))
_TRAINING = (
    Parameter(name="learning_rate", fields=("train.learning_rate",), low=1e-4, high=1e-2, scale="log"),
    Parameter(name="gamma", fields=("loss.low_rank_decay",), low=1e-7, high=1e-3, scale="log"),
    Parameter(name="alpha", fields=("loss.convolution_decay",), low=1e-7, high=1e-3, scale="log"),
    Parameter(name="lambda", fields=("loss.head_decay",), low=1e-7, high=1e-3, scale="log"),
    Parameter(name="rotation", fields=("data.augment.rotation_deg",), low=0.0, high=60.0),
    Parameter(name="zoom", fields=("data.augment.scale",), low=0.0, high=0.4),
    Parameter(name="occlusion", fields=("data.augment.occlusion_probability",), low=0.0, high=0.8),
)

SPACES: dict[str, Space] = {
    "papers": Space(parameters=(_BETA, _ETA, _P, _TAU_D, _R)),
    "papers_apart": Space(parameters=(_BETA, _ETA_RESPONSE, _ETA_IMPORTANCE, _P, _TAU_D, _R)),
    "training": Space(parameters=_TRAINING),
    "all": Space(parameters=(_BETA, _ETA, _P, _TAU_D, _R, *_TRAINING)),
}
"""`papers`: β, η, p, τ_d and r, with η′ and η″ tied as ADODN's authors tie them; `papers_apart`: η′ and η″ each by
itself; `training`: learning rate, the weights of the L2 terms, and augmentation; `all`: `papers` and `training`."""


def get(name: str) -> Space:
    """The space of that name, or of a `.toml` file.

    Raises:
        ConfigError: If there is none of that name, or the file holds none.
    """
    if name.endswith(".toml"):
        return read_space(Path(name))
    if name not in SPACES:
        raise ConfigError(f"unknown search space {name!r}; available: {', '.join(SPACES)}, or a .toml file")
    return SPACES[name]


def read_space(path: Path) -> Space:
    """A user's own space: a TOML file with a table `[[parameters]]` for each, whose keys are `Parameter`'s.

    Raises:
        ConfigError: If the file cannot be read or holds no space.
    """
    try:
        return TypeAdapter(Space).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}, got {first['input']!r}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no search space in TOML: {error}") from error


def _default(parameter: Parameter, config: ExperimentConfig) -> Scalar:
    values = [_value(config, field) for field in parameter.fields]
    if any(value != values[0] for value in values):
        raise ConfigError(
            f"parameter {parameter.name!r} ties {', '.join(parameter.fields)}, but {config.name!r} has {values!r}; "
            "search them apart, or set them to one value"
        )
    if not parameter.holds(values[0]):
        what = f"choices {list(parameter.choices)!r}" if parameter.choices else f"{parameter.low} … {parameter.high}"
        raise ConfigError(
            f"parameter {parameter.name!r} must hold the value that the search begins with, {values[0]!r} of "
            f"{parameter.fields[0]} in {config.name!r}; its range is {what}: widen it, or leave the parameter out"
        )
    return values[0]


def _value(config: ExperimentConfig, field: str) -> Scalar:
    node: Any = asdict(config)
    for part in field.split("."):
        if not isinstance(node, dict) or part not in node:
            raise ConfigError(f"config has no field {field!r}")
        node = node[part]
    if not isinstance(node, bool | int | float | str):
        raise ConfigError(f"config field {field!r} must hold one value to be searched, it has {node!r}; set it first")
    return node
