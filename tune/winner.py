"""What is left of a search's gain: its best config as a file, trained anew with other seeds, and told in words.

    winner = Winner.of(study, lambda values: space.apply(config, values))
    Path("best.json").write_bytes(winner.to_file())                     # adodn winner best.json --dataset …
    gain = Gain(winner=winner, seeds=(1, 2, 3), retrained=…, defaults_retrained=…)
    gain.text()

The best of many noisy trials looks better than it is, since it was chosen for its luck as well; so only trainings that
had no part in the choice tell what was gained. Trains nothing itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adodn.config import ExperimentConfig
from adodn.config_file import config_file, read_config_file
from adodn.errors import ConfigError
from adodn.statistics import MeanInterval, mean_interval
from tune.runs import Training

if TYPE_CHECKING:
    import optuna

_ABOUT = "search"
Scalar = bool | int | float | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """How a search came to its best config."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    study: str
    trial: int
    val_nme: Annotated[float, Field(gt=0)]
    """Of that trial's best epoch, a fraction."""
    trials: int
    """That finished."""
    defaults_trial: int | None
    """The one with the papers' defaults, if it finished."""
    defaults_val_nme: Annotated[float, Field(gt=0)] | None
    defaults: dict[str, Scalar | None]
    """Dotted fields in which the defaults differ from the best config, and their values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Winner:
    """The best config of a search."""

    config: ExperimentConfig
    chosen: Chosen

    @staticmethod
    def of(
        study: "optuna.Study",
        config_of: Callable[[Mapping[str, Any]], ExperimentConfig],
        *,
        objectives: Sequence[str] = ("nme",),
        defaults: int = 0,
    ) -> "Winner":
        """The finished trial with the least error; of two objectives, the first decides.

        Args:
            study: Of the search.
            config_of: A trial's parameters, by the space's names → the experiment that it trained.
            objectives: As `Finished.of` takes them; the first is `nme`.
            defaults: Number of the trial with the papers' defaults.

        Raises:
            ConfigError: If no trial has finished.
        """
        # Optuna takes a second to import, and a file of a winner is read without it.
        from tune.finished import Finished

        finished = Finished.of(study, objectives=objectives, defaults=defaults)
        best = finished.trials[finished.best]
        first = None if finished.defaults is None else finished.trials[finished.defaults]
        config = config_of(best.params)
        chosen = Chosen(
            study=study.study_name,
            trial=best.number,
            val_nme=float(best.values[0]),
            trials=len(finished.trials),
            defaults_trial=None if first is None else first.number,
            defaults_val_nme=None if first is None else float(first.values[0]),
            defaults={} if first is None else config.differences(config_of(first.params)),
        )
        return Winner(config=replace(config, name=f"{config.name}-best"), chosen=chosen)

    def to_file(self) -> bytes:
        """The config as a file that `adodn train --config` takes.

        Raises:
            ConfigError: As `config_file`.
        """
        return config_file(self.config, about={_ABOUT: asdict(self.chosen)})

    @staticmethod
    def read(path: Path) -> "Winner":
        """Read what `to_file` gave.

        Raises:
            ConfigError: If it is something else.
        """
        found = read_config_file(path)
        try:
            chosen = TypeAdapter(Chosen).validate_python(found.about.get(_ABOUT))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(("about", _ABOUT, *(str(part) for part in first["loc"])))
            raise ConfigError(f"{path}: {where}: {first['msg']}; `adodn search` writes such a file") from None
        found.config.with_fields(dict(chosen.defaults))  # refuses what is no field
        return Winner(config=found.config, chosen=chosen)

    def retrainings(self, config: ExperimentConfig, count: int) -> list[Training]:
        """Trainings of the best config, or of the defaults, with seeds that the search did not have.

        Args:
            config: `self.config` or `self.with_defaults()`, on its data.
            count: How many.
        """
        first = self.config.train.seed + 1
        return [Training.of(config, seed) for seed in range(first, first + count)]

    def with_defaults(self) -> ExperimentConfig:
        """The papers' defaults with all that was not searched left as it is."""
        changed = self.config.with_fields(dict(self.chosen.defaults))
        return replace(changed, name=self.config.name.removesuffix("-best"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """Validation errors, fractions: when a config was chosen, and when it was trained anew."""

    chosen: Chosen
    retrained: tuple[float, ...]
    """Of the best config, one a seed."""
    defaults_retrained: tuple[float, ...] = ()
    """Of the papers' defaults, the same seeds in the same order; empty where they were not trained."""
    changed: tuple[str, ...] = ()
    """Fields in which re-training was not as in the search, e.g. `train.epochs`."""

    @property
    def promised(self) -> float | None:
        """By how much the chosen trial was better than the defaults'; None where the latter did not finish."""
        known = self.chosen.defaults_val_nme
        return None if known is None else known - self.chosen.val_nme

    @property
    def kept(self) -> float | None:
        """How much of that re-training shows: the defaults' mean over the same seeds, or else their one trial.

        None where neither was trained as the best config was.
        """
        if self.defaults_retrained:
            return float(np.mean(self.defaults_retrained) - np.mean(self.retrained))
        alike = self.chosen.defaults_val_nme if not self.changed else None
        return None if alike is None else float(alike - np.mean(self.retrained))

    @property
    def by_seed(self) -> MeanInterval | None:
        """The gain as an interval over seeds; None without two of each."""
        if len(self.retrained) != len(self.defaults_retrained) or len(self.retrained) < 2:
            return None
        pairs = zip(self.defaults_retrained, self.retrained, strict=True)
        return mean_interval([theirs - ours for theirs, ours in pairs])

    def text(self) -> str:
        """A few sentences for people, errors in per cent."""
        return " ".join([*self._of_choice(), *self._of_retraining(), *self._of_gain()])

    def _of_choice(self) -> list[str]:
        chosen = self.chosen
        said = [
            f"Search {chosen.study!r}: trial {chosen.trial}, the best of {chosen.trials} finished, has "
            f"{_percent(chosen.val_nme)} on validation."
        ]
        if chosen.defaults_val_nme is None or self.promised is None:
            return [*said, "The trial with the papers' defaults did not finish, so there is no gain to speak of."]
        return [
            *said,
            f"The papers' defaults had {_percent(chosen.defaults_val_nme)} in trial {chosen.defaults_trial}: "
            f"{_points(self.promised)} better when chosen.",
        ]

    def _of_retraining(self) -> list[str]:
        seeds = f"with {len(self.retrained)} other seed{'s' * (len(self.retrained) > 1)}"
        otherwise = f", with another {', '.join(self.changed)}," if self.changed else ""
        said = [f"Trained anew {seeds}{otherwise} it has {_with_interval(self.retrained)}."]
        if self.defaults_retrained:
            said.append(f"The defaults with the same seeds have {_with_interval(self.defaults_retrained)}.")
        return said

    def _of_gain(self) -> list[str]:
        if self.kept is None:
            return ["The defaults were not trained likewise, so what survives of a gain cannot be said."]
        share = f", {100 * self.kept / self.promised:.0f} % of it," if self.promised and self.promised > 0 else ""
        said = [f"Of the gain {_points(self.kept)}{share} survive."]
        if self.by_seed is None:
            return [*said, "Whether that is more than chance, these trainings cannot tell."]
        low, high = self.by_seed.low, self.by_seed.high
        verdict = "it is a gain" if low > 0 else "it is a loss" if high < 0 else "which may be chance"
        return [*said, f"By seed: {_points(low)} to {_points(high)} (95 %); {verdict}."]


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _points(value: float) -> str:
    return f"{100 * value:.2f} points"


def _with_interval(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{_percent(values[0])} (one training has no interval)"
    found = mean_interval(values)
    return f"{_percent(found.mean)} on average (95 % interval {_percent(found.low)} to {_percent(found.high)})"
