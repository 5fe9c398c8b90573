"""Learning rates against torch's own schedulers.

pytest tests/unit/test_schedule.py
"""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from adodn.config import TrainConfig
from adodn.errors import ConfigError
from adodn.train.schedule import Schedule

RATES = (1e-3, 1e-7)
STEPS = 20


def optimiser(kind: type[torch.optim.Optimizer], **options: float) -> torch.optim.Optimizer:
    """Two groups of different rates."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate, "initial_lr": rate} for rate in RATES]
    return kind(groups, lr=1.0, **options)  # type: ignore[call-arg]


def rates(train: TrainConfig, total: int = STEPS) -> list[tuple[float, ...]]:
    """Of both groups at all steps."""
    mine = optimiser(torch.optim.SGD, momentum=0.9)
    schedule, seen = Schedule(mine, train, total), []
    for step in range(total):
        schedule.before_step(step)
        seen.append(tuple(group["lr"] for group in mine.param_groups))
    return seen


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize(("warmup", "share"), [(0, 0.3), (4, 0.2), (2, 0.1)])
def test_one_cycle_is_torch_s(kind: type[torch.optim.Optimizer], warmup: int, share: float) -> None:
    """Rates and momenta of all steps; `warmup_steps` is the length of the climb."""
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    mine, theirs = optimiser(kind, **options), optimiser(kind, **options)
    schedule = Schedule(mine, TrainConfig(schedule="one_cycle", warmup_steps=warmup), STEPS)
    stock = OneCycleLR(theirs, list(RATES), total_steps=STEPS, pct_start=share)

    for step in range(STEPS):
        schedule.before_step(step)
        for ours, torch_s in zip(mine.param_groups, theirs.param_groups, strict=True):
            assert ours["lr"] == pytest.approx(torch_s["lr"], rel=1e-9)
            assert ours.get("betas") == pytest.approx(torch_s.get("betas"))
            assert ours.get("momentum") == pytest.approx(torch_s.get("momentum"))
        theirs.step()
        if step < STEPS - 1:
            stock.step()


def test_warm_up_may_be_given_in_epochs() -> None:
    """Two epochs of ten in twenty steps are four steps of climb; steps that are given stand."""
    by_epochs = TrainConfig(schedule="cosine", epochs=10, warmup_epochs=2)

    assert rates(by_epochs) == rates(TrainConfig(schedule="cosine", epochs=10, warmup_steps=4))
    assert rates(by_epochs) != rates(TrainConfig(schedule="cosine", epochs=10))


def test_cosine_is_torch_s_after_a_linear_climb() -> None:
    """From 1e-3 to 5e-6 at the very last step; the trunk's rate keeps its proportion."""
    seen = rates(TrainConfig(schedule="cosine", warmup_steps=5, final_learning_rate=5e-6))

    assert [first for first, _ in seen[:5]] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    theirs = optimiser(torch.optim.SGD)
    stock = CosineAnnealingLR(theirs, T_max=STEPS - 6, eta_min=5e-6)
    for first, second in seen[5:]:
        assert first == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)
        assert second == pytest.approx(first * 1e-4)
        theirs.step()
        stock.step()
    assert seen[-1][0] == pytest.approx(5e-6)


def test_plateaus_are_torch_s() -> None:
    """Drops come after the same epochs for scores with gains, ties and long plateaus."""
    draws = torch.Generator().manual_seed(0)
    scores = (torch.rand(60, generator=draws) * 4).round().div(8).add(0.5).tolist()
    train = TrainConfig(plateau_patience=2, plateau_factor=0.5)
    mine, theirs = optimiser(torch.optim.Adam), optimiser(torch.optim.Adam)
    schedule = Schedule(mine, train, 60)
    stock = ReduceLROnPlateau(theirs, factor=0.5, patience=2, threshold=0.0, threshold_mode="abs", eps=0.0)

    for epoch, score in enumerate(scores):
        schedule.before_step(epoch)
        assert [g["lr"] for g in mine.param_groups] == pytest.approx([g["lr"] for g in theirs.param_groups], rel=1e-9)
        schedule.after_epoch(score)
        stock.step(score)
    assert mine.param_groups[0]["lr"] < 1e-5


def test_plateau_warms_up() -> None:
    """Linearly to the full rate, which stays."""
    assert [first for first, _ in rates(TrainConfig(warmup_steps=4))][:6] == pytest.approx(
        [2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3]
    )


@pytest.mark.parametrize("schedule", ["plateau", "one_cycle", "cosine"])
def test_training_must_outlast_its_warm_up(schedule: str) -> None:
    """Twenty steps of warm-up in twenty steps are refused."""
    with pytest.raises(ConfigError, match="warmup_steps must be below the 20 steps of all epochs, got 20"):
        rates(TrainConfig(schedule=schedule, warmup_steps=20))  # type: ignore[arg-type]


def test_cosine_does_not_climb() -> None:
    """A final rate above the first is refused where it is written."""
    with pytest.raises(ConfigError, match=r"final_learning_rate must be at most train.learning_rate 0.001, got 0.01"):
        TrainConfig(schedule="cosine", final_learning_rate=0.01)
