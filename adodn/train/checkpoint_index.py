"""Which checkpoints of a run are whole: a list beside them, written after their bytes.

    file = IndexFile(store, "s3://adodn/runs/NAME")
    index = file.read()             # None: there is no list yet
    file.write(changed)             # False: somebody else has written it since

Two processes may hold themselves for the one that saves: that of a killed group may be slow to die. So the list is
replaced only by who has read the version that is there.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adodn.data.store import S3Store
from adodn.errors import CheckpointError

INDEX = "checkpoints.json"
FORMAT = 1
PREFIX = "checkpoint_"
"""Of the folders of checkpoints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A checkpoint on storage."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    folder: Annotated[str, Field(pattern=rf"^{PREFIX}[A-Za-z0-9_-]{{1,100}}$")]
    """In the run's own."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    epoch: Annotated[int, Field(ge=0)]
    """Epochs that are finished in it."""
    step: Annotated[int, Field(ge=0)]
    val_nme: float | None
    """A fraction; None between epochs, where nothing is validated."""

    @property
    def error(self) -> float:
        """`val_nme` to compare by: infinite where there is none or it is NaN, than which no number is less."""
        return math.inf if self.val_nme is None or math.isnan(self.val_nme) else self.val_nme


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """The checkpoints of a run."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    writer: str
    """Who saves: another one for each start of the training."""
    generation: Annotated[int, Field(ge=0)]
    """How often the list was written."""
    latest: tuple[Kept, ...] = ()
    """The last, and the one before."""
    best: Kept | None = None
    """Of least validation error, the earlier of equals."""

    @property
    def named(self) -> list[Kept]:
        """All, each once, in the order in which one would go on from them."""
        return list(dict.fromkeys([*self.latest, *([self.best] if self.best else [])]))

    def with_added(self, added: Kept) -> "Index":
        """The next list: the new one is the last."""
        return Index(
            writer=self.writer,
            generation=self.generation + 1,
            latest=(added, *[kept for kept in self.latest if kept != added][:1]),
            best=better(self.best, added),
        )


def better(best: Kept | None, other: Kept) -> Kept | None:
    """Which of two has the less validation error, if one has a finite one."""
    return other if other.error < (math.inf if best is None else best.error) else best


class IndexFile:
    """The list on storage.

    Args:
        store: The storage.
        base_uri: The run's folder there.
    """

    def __init__(self, store: S3Store, base_uri: str) -> None:
        self.uri = f"{base_uri}/{INDEX}"
        self.store = store
        self._version: str | None = None

    def read(self) -> Index | None:
        """What is there now.

        Raises:
            CheckpointError: If it is no such list, or of another format.
        """
        self._version = None
        if not self.store.exists(self.uri):
            return None
        content, self._version = self.store.get_version(self.uri)
        try:
            tree = json.loads(content)
            found = tree.pop("format", None) if isinstance(tree, dict) else None
            if isinstance(found, int) and found > FORMAT:
                raise CheckpointError(
                    f"{self.uri}: format must be {FORMAT}, got {found}, of a newer version; update adodn"
                )
            return TypeAdapter(Index).validate_python(tree)
        except (ValueError, ValidationError) as error:
            problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise CheckpointError(
                f"{self.uri}: not a list of checkpoints: {problem}; train again under a new run name"
            ) from error

    def write(self, index: Index) -> bool:
        """Put this in the place of what was read last; False if it is no longer that."""
        content = json.dumps({"format": FORMAT, **asdict(index)}, sort_keys=True, indent=1).encode()
        version = self.store.replace(self.uri, content, self._version)
        self._version = version or self._version
        return version is not None
