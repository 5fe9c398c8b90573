"""Cross-protocol training on two ranks, one of which may lack a protocol, computes what one process does.

pytest tests/integration/test_cnt_ranks.py
"""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from adodn.config import ExperimentConfig, LossConfig, ModelConfig, Source, TrainConfig
from tests import cnt_ranks

STEPS = [
    [0, 0, 1, 0, 0, 0, 0, 0],  # rank 1 lacks branch 1, and the ranks' counts of each branch differ
    [1, 1, 1, 1, 0, 1, 0, 1],  # rank 0 lacks branch 0
    [0, 0, 0, 0, 0, 0, 0, 0],  # nobody has branch 1
    [1, 1, 1, 1, 0, 0, 0, 0],  # each rank has but one branch, and not the same
    [0, 1, 0, 1, 1, 0, 0, 1],
]
MODEL = ModelConfig(
    head="cnt_branch",
    geometry="none",
    occlusion="none",
    low_rank=False,
    input_px=64,
    grid=1,
    hidden_width=8,
    branch_kernel=1,
    batch_norm_faces=4,
)
CONFIG = ExperimentConfig(
    name="ranks",
    model=MODEL,
    loss=LossConfig(regression="l1"),
    train=TrainConfig(global_batch=8, precision="fp64"),
).on_sources([Source(name="a", dataset="a", protocol="29"), Source(name="b", dataset="b", protocol="68")])


def told_by(world_size: int, folder: Path, config: ExperimentConfig) -> list[list[dict[str, Any]]]:
    """What each rank says of each step; a rank that hangs is ended, and fails the test."""
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(
            target=cnt_ranks.run, args=(rank, world_size, config.to_json(), STEPS, str(folder)), daemon=True
        )
        for rank in range(world_size)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=180)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    assert codes == [0] * world_size
    return [torch.load(folder / f"{rank}-of-{world_size}.pt") for rank in range(world_size)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return told_by(1, tmp_path_factory.mktemp("alone"), CONFIG)[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    return told_by(2, tmp_path_factory.mktemp("pair"), CONFIG)


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("what", ["gradients", "weights"])
def test_two_ranks_compute_what_one_process_computes(
    alone: list[dict[str, Any]], pair: list[list[dict[str, Any]]], step: int, what: str
) -> None:
    """After each step all gradients and weights on both ranks are the single process's, whoever lacked a branch."""
    for told in pair:
        assert told[step][what].keys() == alone[step][what].keys()
        for name, value in alone[step][what].items():
            torch.testing.assert_close(told[step][what][name], value, rtol=1e-7, atol=1e-11, msg=name)


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_the_step_is_the_mean_over_all_its_faces(
    alone: list[dict[str, Any]], pair: list[list[dict[str, Any]]], step: int
) -> None:
    """The mean of the ranks' losses is the loss over the whole batch: each face counts once, wherever it is."""
    assert sum(told[step]["loss"] for told in pair) / 2 == pytest.approx(alone[step]["loss"], rel=1e-9)


def test_every_step_moves_the_branches_it_has(alone: list[dict[str, Any]]) -> None:
    """The comparison is of something: present branches have gradients in every step, absent ones exactly zero."""
    for step, branches in zip(alone, STEPS, strict=True):
        for number in (0, 1):
            size = float(step["gradients"][f"branches.{number}.head.2.weight"].abs().max())
            assert (size > 1e-6) == (number in branches)
