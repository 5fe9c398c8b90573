"""What a challenger must show before it becomes champion: a rule in a small TOML file.

    gate = Gate.read(Path("gate.toml"))             # or Gate.default(), which is `gate.toml` beside this file
    gate.primary.figure, gate.subsets

Whether a challenger meets it, `judging` says.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adodn.errors import ConfigError

MAX_BYTES = 100_000
_Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Primary(_Table):
    """The figure that decides."""

    figure: str = "nme"
    """Of each face, one of `evaluate.figure_names`; less is better."""
    subset: str = "all"
    dataset: str = ""
    """Empty: the one on which both were measured."""
    normaliser: str = ""
    """Empty: the one by which both were measured."""
    qualifier: str = ""
    """What ends the result's name where faces were masked or protocols crossed, e.g. `masked 0`; empty: neither."""
    min_improvement: _Share = 0.0
    """The near end of the interval of champion minus challenger must lie beyond it; a fraction, as errors are."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    at_most: _Positive | None = None
    """Bound of the challenger's own mean."""


class Subsets(_Table):
    """No subset may become much worse."""

    max_worse: _Share
    """Share of the champion's error of that subset."""


class Bound(_Table):
    """A result of the challenger's evaluations."""

    result: str
    """Full name, e.g. `masked-300w/all nme@outer_eye_corners`."""
    at_most: _Positive


class Size(_Table):
    """How large the network may be."""

    max_parameters: Annotated[int, Field(ge=1)]


class Speed(_Table):
    """How fast it must be, on the machine that judges."""

    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Faces at a time."""
    min_faces_per_s: _Positive | None = None
    min_ratio_to_champion: _Positive | None = None


class Smoke(_Table):
    """The loaded model answers as the trained one did."""

    max_difference: _Positive
    """Of any coordinate of one fixed picture, in fractions of the crop."""


class Gate(_Table):
    """All that is asked; a table that is left out is not asked."""

    primary: Primary = Primary()
    subsets: Subsets | None = None
    bounds: tuple[Bound, ...] = ()
    size: Size | None = None
    speed: Speed | None = None
    smoke: Smoke | None = None
    by_hand: bool = False
    """Who passes waits for `adodn approve`."""

    @property
    def needs_network(self) -> bool:
        """Whether a rule is about the network itself, beyond its errors."""
        return any((self.size, self.speed, self.smoke))

    @staticmethod
    def default() -> "Gate":
        """The one that comes with the package, `adodn/registry/gate.toml`."""
        file = resources.files("adodn.registry") / "gate.toml"
        return Gate.parse(tomllib.loads(file.read_text("utf-8")), "the default gate")

    @staticmethod
    def read(path: Path) -> "Gate":
        """From a TOML file.

        Raises:
            ConfigError: If it cannot be read or breaks a rule; the message names file, key, rule and value.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise ConfigError(f"{path}: has more than {MAX_BYTES} bytes, which no gate has")
            return Gate.parse(tomllib.loads(content.decode("utf-8")), str(path))
        except (OSError, ValueError, RecursionError) as cause:
            raise ConfigError(
                f"{path}: no gate can be read from it: {cause}; `adodn promote --help` says how"
            ) from None

    @staticmethod
    def parse(tree: Any, where: str) -> "Gate":
        """From plain tables, as TOML or JSON has them.

        Raises:
            ConfigError: If a key is unknown or a value not allowed.
        """
        try:
            return Gate.model_validate(_without_lists(tree))
        except ValidationError as cause:
            # A key that is misspelt is lacking as well: the key is what to tell of.
            first = min(cause.errors(), key=lambda error: error["type"] != "extra_forbidden")
            steps = [str(step) for step in first["loc"]]
            if first["type"] == "extra_forbidden":
                allowed = ", ".join(_keys_at(first["loc"][:-1]))
                raise ConfigError(f"{where}: unknown key {'.'.join(steps)!r}; there may be {allowed}") from None
            got = f", got {first['input']!r:.80}" if first["type"] != "missing" else ""
            raise ConfigError(f"{where}: {'.'.join(steps) or 'the whole'}: {first['msg']}{got}") from None

    def on(self, dataset: str, normaliser: str = "", qualifier: str = "") -> "Gate":
        """The same, decided on a dataset; an empty name leaves it as it is.

        Raises:
            ConfigError: If the gate names another itself.
        """
        if not dataset or self.primary.dataset == dataset:
            return self
        if self.primary.dataset:
            raise ConfigError(f"the gate decides on dataset {self.primary.dataset!r}, asked for is {dataset!r}")
        named = {
            "dataset": dataset,
            "normaliser": self.primary.normaliser or normaliser,
            "qualifier": self.primary.qualifier or qualifier,
        }
        return self.model_copy(update={"primary": self.primary.model_copy(update=named)})


def _without_lists(tree: Any) -> Any:
    """TOML's arrays as tuples, which strict models take."""
    if isinstance(tree, dict):
        return {key: _without_lists(value) for key, value in tree.items()}
    return tuple(_without_lists(value) for value in tree) if isinstance(tree, list) else tree


def _keys_at(steps: tuple[int | str, ...]) -> list[str]:
    tables: dict[str, type[_Table]] = {"primary": Primary, "subsets": Subsets, "bounds": Bound, "size": Size}
    tables |= {"speed": Speed, "smoke": Smoke}
    return sorted((tables[str(steps[0])] if steps else Gate).model_fields)
