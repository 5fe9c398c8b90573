"""What a search leaves to look at: its pictures, and its best config as a file. A picture that fails fails no search.

found = findings(study, space, config, ("nme",))
found.files["history.png"], found.files[BEST], found.left_out["pareto.png"]
found.write(store, "s3://adodn/searches/first")      # and Findings.read(store, the same), on another machine
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import ConfigError, StorageError
from tune.space import Space
from tune.storage import current
from tune.winner import Winner

BEST = "best.json"
"""The file that `adodn train --config` and `adodn winner` take."""
_LIST = "findings.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What could be made of a study, and why the rest could not."""

    files: dict[str, bytes]
    """File name → content: pictures as PNG, and `BEST`."""
    left_out: dict[str, str]
    """File name → reason."""

    def write(self, store: S3Store, folder: str) -> None:
        """Put all of it in a folder, last the list of what there is and what is not.

        Raises:
            StorageError: If the store does not take it.
        """
        for name, content in self.files.items():
            store.put(f"{folder}/{name}", content)
        listed = {"files": sorted(self.files), "left_out": self.left_out}
        store.put(f"{folder}/{_LIST}", json.dumps(listed, indent=2, sort_keys=True).encode())

    @classmethod
    def read(cls, store: S3Store, folder: str) -> "Findings":
        """What `write` put there; no file of an earlier time.

        Raises:
            StorageError: If it put nothing there, or what lies there is something else.
        """
        where = f"{folder}/{_LIST}"
        try:
            listed = json.loads(store.get(where))
            left_out = {str(name): str(why) for name, why in listed["left_out"].items()}
            names = [Path(name).name for name in listed["files"]]  # never beyond the folder
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise StorageError(f"{where}: must list a search's files: {error!r}; resume the search") from error
        return cls(files={name: store.get(f"{folder}/{name}") for name in names}, left_out=left_out)


def findings(study: optuna.Study, space: Space, config: ExperimentConfig, objectives: Sequence[str]) -> Findings:
    """Draw a search and write its best config; whatever goes wrong is a reason in `left_out`, never an error.

    Args:
        study: Of the search; its first training had the papers' defaults.
        space: What was searched.
        config: What trials varied.
        objectives: Names, in the study's order.
    """
    ways: dict[str, Callable[[], Findings]] = {
        "pictures": lambda: _pictures(study, objectives),
        BEST: lambda: _best(study, space, config, objectives),
    }
    files: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    for what, way in ways.items():
        try:
            made = way()
        except Exception as error:  # the trials are worth hours, and the study is there to be drawn again
            left_out[what] = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        else:
            files |= made.files
            left_out |= made.left_out
    return Findings(files=files, left_out=left_out)


def _pictures(study: optuna.Study, objectives: Sequence[str]) -> Findings:
    # Matplotlib takes a second to import: only those whose search is over wait.
    from tune.pictures import draw

    pictures = draw(study, objectives=objectives, defaults=_defaults(study))
    return Findings(files=pictures.drawn, left_out=pictures.left_out)


def _best(study: optuna.Study, space: Space, config: ExperimentConfig, objectives: Sequence[str]) -> Findings:
    if objectives[0] != "nme":
        raise ConfigError(f"the best is that with the least nme, and the first objective was {objectives[0]!r}")
    winner = Winner.of(
        study, lambda values: space.apply(config, values), objectives=objectives, defaults=_defaults(study)
    )
    return Findings(files={BEST: winner.to_file()}, left_out={})


def _defaults(study: optuna.Study) -> int:
    """Number of the trial with the papers' defaults: another than 0 where the first was interrupted and begun again."""
    trials = current(study)
    return trials[0].number if trials else 0
