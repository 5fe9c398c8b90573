"""The losses that `python -m tests.rank_losses` prints are the same for one process and for two ranks.

pytest tests/unit/test_rank_losses.py
"""

import pytest

from tests.rank_losses import TRAININGS, rows


def test_two_ranks_have_one_processs_losses() -> None:
    """Step by step within 1e-9, over several steps of each training, which differ from one another."""
    found = list(rows())

    assert {name for name, *_ in found} == set(TRAININGS)
    assert len({one for _, _, one, _ in found}) == len(found) >= 4 * len(TRAININGS)
    for name, step, one, two in found:
        assert two == pytest.approx(one, rel=1e-9), (name, step)
