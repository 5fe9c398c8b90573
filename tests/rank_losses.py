"""Each step's loss in one process and as the mean over two ranks, side by side, for ADODN, ODN and mixed protocols.

python -m tests.rank_losses
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from adodn import recipes
from tests import cnt_ranks
from tests.golden.losses import first_steps
from tests.processes import together

HEAD = "| training | step | one process | two ranks | relative difference |\n|---|--:|--:|--:|--:|"


def golden(recipe: str) -> dict[str, Any]:
    """The steps of a smoke recipe whose losses are kept."""
    return first_steps(recipes.get(recipe))


TRAININGS: dict[str, Callable[[], dict[str, Any]]] = {
    "adodn_smoke": partial(golden, "adodn_smoke"),
    "odn_smoke": partial(golden, "odn_smoke"),
    "cnt, 29 and 68 points": cnt_ranks.train,
}
"""All in double precision: in single, training magnifies the rounding of another order of summation."""


def losses() -> dict[str, Any]:
    """Each training's `[step]` losses on this rank."""
    return {name: train()["loss"] for name, train in TRAININGS.items()}


def rows() -> Iterator[tuple[str, int, float, float]]:
    """Training, step, loss of one process, mean of the losses of two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        (alone,) = together(losses, Path(folder) / "alone", processes=1)
        first, second = together(losses, Path(folder) / "pair")
    for name, of_one in alone.items():
        for step, (one, *two) in enumerate(zip(of_one, first[name], second[name], strict=True)):
            yield name, step, one, sum(two) / 2


if __name__ == "__main__":
    sys.stdout.write(HEAD + "\n")
    for training, step, one, two in rows():
        sys.stdout.write(f"| {training} | {step} | {one:.12f} | {two:.12f} | {abs(two - one) / one:.0e} |\n")
