"""How many bad faces sharding may leave out by itself, and the error where there are more. It finds no bad face.

budget = BadBudget.parse("0.5%")
budget.require({"helen-1": "helen/1.jpg: the image is damaged"}, num_faces=3148, dataset="300w")
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from adodn.errors import AnnotationError, ConfigError

_FORM = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)(?P<percent>%?)")
_NAMED = 3


@dataclass(frozen=True, slots=True)
class BadBudget:
    """The number of bad faces, or their share, up to which a dataset is sharded without them."""

    limit: Fraction = Fraction(0)
    """A number of faces, or per cent of all."""
    is_percent: bool = False

    @staticmethod
    def parse(text: str) -> "BadBudget":
        """Read `12` or `0.5%`.

        Raises:
            ConfigError: If it is neither.
        """
        match = _FORM.fullmatch(text)
        budget = BadBudget(Fraction(match["number"]), bool(match["percent"])) if match else None
        if budget is None or (budget.limit > 100 if budget.is_percent else budget.limit.denominator > 1):
            raise ConfigError(f"max_bad is a number of faces or at most 100 per cent, like 12 or 0.5%, got {text!r}")
        return budget

    def faces(self, num_faces: int) -> int:
        """How many bad faces of so many are allowed."""
        return int(self.limit * num_faces / 100 if self.is_percent else self.limit)

    def require(self, bad: Mapping[str, str], *, num_faces: int, dataset: str) -> None:
        """Check that the bad faces are within the budget.

        Args:
            bad: Key → reason, in the order of the index.
            num_faces: Faces that were read.
            dataset: Its name, for the message.

        Raises:
            AnnotationError: If they are not; it names the first few and says how many there are.
        """
        allowed = self.faces(num_faces)
        if len(bad) <= allowed:
            return
        first = "; ".join(f"{key!r}: {reason}" for key, reason in list(bad.items())[:_NAMED])
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise AnnotationError(
            f"dataset {dataset!r}: {len(bad)} of {num_faces} faces cannot be stored, and at most {allowed} may be left "
            f"out: {first}{more}. Mend them, leave them out by a list (`adodn validate` makes one, `--exclude` takes "
            "it), or allow as many with `--max-bad`"
        )
