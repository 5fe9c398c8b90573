"""Two processes that train together: what they compute, how they stop, and equal bits from run to run.

pytest tests/unit/test_train_processes.py
"""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from adodn.errors import TrainingDivergedError
from adodn.models.batch_norm import running_buffers
from adodn.train.determinism import prepare_process
from adodn.train.loop import fit, synchronise, train_epoch
from adodn.train.peers import rank
from tests.memory_training import Faces, Hooked, share, small_batch, small_config, small_state
from tests.processes import together

FEATURES: dict[str, object] = {
    "train.ema_decay": 0.9,
    "train.gradient_clip": 0.05,
    "train.freeze": ["trunk.widen"],
    "train.optimiser": "sgd",
    "train.learning_rate": 0.05,
    "model.drop_warmup_epochs": 0,
}


def in_micro_batches() -> dict[str, Any]:
    """A training with most features, two faces at a time."""
    state, hooks = small_state(small_config(FEATURES)), Hooked()
    fit(state, Faces(3, 8), Faces(2, 8), hooks, micro_batch=2)
    return {
        "network": state.network.state_dict(),
        "average": state.result.state_dict(),
        "metrics": hooks.results(),
    }


def test_two_processes_in_micro_batches_compute_what_one_computes_in_one_pass(tmp_path: Path) -> None:
    """Weights, their average, running statistics of both and all metrics agree to 1e-10."""
    first, second = together(in_micro_batches, tmp_path / "two")

    state, hooks = small_state(small_config(FEATURES)), Hooked()
    fit(state, Faces(3, 8), Faces(2, 8), hooks)

    for name, expected in state.network.state_dict().items():
        torch.testing.assert_close(first["network"][name], expected, rtol=1e-10, atol=1e-10)
        assert torch.equal(first["network"][name], second["network"][name])
    for name, expected in state.result.state_dict().items():
        torch.testing.assert_close(first["average"][name], expected, rtol=1e-10, atol=1e-10)
    for mine, expected in zip(first["metrics"], hooks.results(), strict=True):
        assert mine == pytest.approx(expected, rel=1e-10)


def reported() -> dict[str, Any]:
    """What epochs report of training when workers meet after every step, and when they never do."""
    reports = []
    for after_step in (lambda state: None, synchronise):
        hooks = Hooked(after_step)
        fit(small_state(small_config()), Faces(5, 8), Faces(1, 8), hooks)
        reports.append(
            [{name: value for name, value in epoch.items() if name.startswith("train/")} for epoch in hooks.results()]
        )
    return {"never": reports[0], "always": reports[1]}


def test_how_often_workers_meet_changes_no_bit_of_what_they_report(tmp_path: Path) -> None:
    """Checkpoints in mid-epoch leave the epoch's means as they are, to the last bit."""
    first, second = together(reported, tmp_path / "two")

    assert first["never"] == first["always"] == second["never"] == second["always"]


def averaged_statistics() -> dict[str, Any]:
    """Running statistics before and after the workers meet: drawn alike in the frozen trunk, the rank elsewhere."""
    state = small_state(small_config({"train.freeze": ["trunk."], "train.ema_decay": 0.9}))
    assert state.average
    draws = torch.Generator().manual_seed(0)
    for network in (state.network, state.average.network):
        for buffer in running_buffers(network):
            buffer.fill_(rank())
        for buffer in running_buffers(network.trunk):
            buffer.copy_(torch.rand(buffer.shape, generator=draws, dtype=buffer.dtype))
    found = {}
    for when in ("before", "after"):
        networks = {"network": state.network.state_dict(), "average": state.average.network.state_dict()}
        found[when] = {
            f"{whose} {name}": value.clone()
            for whose, values in networks.items()
            for name, value in values.items()
            if "running" in name
        }
        synchronise(state)
    return found


def test_frozen_statistics_keep_every_bit_on_three_processes(tmp_path: Path) -> None:
    """A third of three times a number need not be that number; statistics that move are averaged as ever."""
    for found in together(averaged_statistics, tmp_path / "three", processes=3):
        assert len(found["before"]) == len(found["after"]) > 8
        for name, value in found["after"].items():
            expected = found["before"][name] if " trunk." in name else torch.ones_like(value)
            assert torch.equal(value, expected), name


def diverging() -> dict[str, Any]:
    """Two steps, of which the second has a loss that overflows on rank 1 alone, its gradient finite."""
    state = small_state(small_config({"train.precision": "fp32", "loss.regression": "smooth_l1"}))

    class Bad(Faces):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield share(small_batch(8))
            batch = share(small_batch(8, 1))
            if rank() == 1:
                batch.landmarks[0] = 3e38
            yield batch

    kept: dict[str, torch.Tensor] = {}
    hooks = Hooked(lambda state: kept.update({n: p.detach().clone() for n, p in state.network.named_parameters()}))
    try:
        train_epoch(state, Bad(3, 8), hooks)
    except TrainingDivergedError as error:
        after = dict(state.network.named_parameters())
        return {"message": str(error), "kept": all(torch.equal(after[name], kept[name]) for name in kept)}
    return {"message": "", "kept": False}


def test_a_loss_that_overflows_on_one_process_stops_all_before_the_update(tmp_path: Path) -> None:
    """Both name the same step and leave the weights as they were; only one of them has seen the loss."""
    healthy, ill = together(diverging, tmp_path / "two")

    assert healthy["kept"] and ill["kept"]
    assert "at step 1 (epoch 0)" in healthy["message"] and "at step 1 (epoch 0)" in ill["message"]
    assert "the loss is inf" in ill["message"]
    assert "the loss is inf" not in healthy["message"]


def deterministic() -> dict[str, Any]:
    """A training with equal bits, and whether an operation that has none was refused."""
    config = small_config({"train.deterministic": True, "train.precision": "fp32"})
    prepare_process(config.train)
    state = small_state(config)
    fit(state, Faces(2, 8), Faces(1, 8), Hooked())
    refused = False
    try:
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))
    except RuntimeError:
        refused = True
    workspace = os.environ["CUBLAS_WORKSPACE_CONFIG"]
    return {"network": state.network.state_dict(), "refused": refused, "workspace": workspace}


def test_fp32_is_fp32_on_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's default rounds CUDA's convolutions to TF32: one fingerprint would stand for two precisions."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    prepare_process(small_config().train)
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


def test_deterministic_runs_give_equal_bits(tmp_path: Path) -> None:
    """Two processes, one after the other, end with the same bits, and torch refuses what could differ."""
    (one,) = together(deterministic, tmp_path / "one", processes=1)
    (other,) = together(deterministic, tmp_path / "other", processes=1)

    assert one["refused"] and other["refused"]
    assert one["workspace"] == ":4096:8"
    for name, value in one["network"].items():
        assert torch.equal(value, other["network"][name]), name
        assert not value.is_floating_point() or math.isfinite(float(value.sum()))
