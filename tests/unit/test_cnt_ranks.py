"""Cross-protocol training on two ranks, one of which may lack a protocol, computes what one process does.

pytest tests/unit/test_cnt_ranks.py
"""

from typing import Any

import pytest
import torch

from tests import cnt_ranks
from tests.cnt_ranks import STEPS
from tests.processes import together


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    (told,) = together(cnt_ranks.train, tmp_path_factory.mktemp("alone") / "ranks", processes=1)
    return told


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return together(cnt_ranks.train, tmp_path_factory.mktemp("pair") / "ranks")


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("what", ["gradients", "weights"])
def test_two_ranks_compute_what_one_process_computes(
    alone: dict[str, Any], pair: list[dict[str, Any]], step: int, what: str
) -> None:
    """After each step all gradients and weights on both ranks are the single process's, whoever lacked a branch."""
    for told in pair:
        assert told[what][step].keys() == alone[what][step].keys()
        for name, value in alone[what][step].items():
            torch.testing.assert_close(told[what][step][name], value, rtol=1e-7, atol=1e-11, msg=name)


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_the_step_is_the_mean_over_all_its_faces(alone: dict[str, Any], pair: list[dict[str, Any]], step: int) -> None:
    """The mean of the ranks' losses is the loss over the whole batch: each face counts once, wherever it is."""
    assert sum(told["loss"][step] for told in pair) / 2 == pytest.approx(alone["loss"][step], rel=1e-9)


def test_every_step_moves_the_branches_it_has(alone: dict[str, Any]) -> None:
    """The comparison is of something: present branches have gradients in every step, absent ones exactly zero."""
    for gradients, branches in zip(alone["gradients"], STEPS, strict=True):
        for number in (0, 1):
            size = float(gradients[f"branches.{number}.head.2.weight"].abs().max())
            assert (size > 1e-6) == (number in branches)
