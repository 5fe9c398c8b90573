"""What a training says of its progress, and what a reader of its log makes of it.

pytest tests/unit/test_progress.py
"""

import json

import pytest

from adodn.train import progress
from adodn.train.loop import fit, val_metric
from adodn.train.progress import Progress, finished_share
from adodn.train.state import TrainState
from tests.memory_training import Faces, Hooked, small_config, small_state

STEPS, EPOCHS = 2, 3
CONFIG = small_config({"train.epochs": EPOCHS})


def told(log_format: str, monkeypatch: pytest.MonkeyPatch, every_s: float) -> list[str]:
    """The lines of a whole training."""
    monkeypatch.setattr(progress, "EVERY_S", every_s)
    lines: list[str] = []
    says = Progress(val_metric(CONFIG), "json" if log_format == "json" else "text", lines.append)
    hooks = Hooked(after_step=says.after_step, after_epoch=says.after_epoch)
    fit(small_state(CONFIG, STEPS), Faces(STEPS, 8), Faces(1, 8), hooks)
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    return [line.rstrip("\n") for line in lines]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_each_epoch_is_a_line_that_says_how_much_is_done(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing between them where epochs are short."""
    lines = told(log_format, monkeypatch, every_s=3600)

    assert [finished_share(line) for line in lines] == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_long_epoch_is_told_of_within(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of all steps, and it never goes back."""
    shares = [finished_share(line) for line in told(log_format, monkeypatch, every_s=0)]

    assert shares == pytest.approx([1 / 6, 2 / 6, 2 / 6, 3 / 6, 4 / 6, 4 / 6, 5 / 6, 1, 1])


def test_the_text_names_epoch_step_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As people read it."""
    within, *_ = told("text", monkeypatch, every_s=0)
    ended = told("text", monkeypatch, every_s=3600)[-1]

    assert within.startswith("epoch 1/3  step 1/2  loss ")
    assert ended.startswith("epoch 3/3  loss ")
    assert "  val nme " in ended and " faces/s  waiting " in ended


def test_an_object_has_the_metrics_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what collects logs: every metric under its own name, beside when, what and where."""
    last = json.loads(told("json", monkeypatch, every_s=3600)[-1])

    assert last["event"] == "epoch"
    assert (last["epoch"], last["step"], last["total_steps"]) == (EPOCHS, 6, 6)
    assert last["fingerprint"] == CONFIG.fingerprint()
    assert {"time", "train/loss", "train/faces_per_second", "train/data_wait_fraction", val_metric(CONFIG)} <= set(last)


def test_time_left_is_that_of_the_steps_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the speed of this process alone: a training that was gone on with does not count what others did."""
    monkeypatch.setattr(progress, "EVERY_S", 5)
    now = iter([0.0, 100.0, 110.0, 120.0])
    monkeypatch.setattr("adodn.train.progress.time.monotonic", lambda: next(now))
    lines: list[str] = []
    says = Progress(val_metric(CONFIG), "text", lines.append)
    state = small_state(CONFIG, STEPS)
    for state.epoch, state.step in ((0, 2), (1, 3)):
        state.epoch_steps = [[0.5]]
        says.after_step(state)

    # At 100 s step 2 was done and at 120 s, when it is asked, step 3; three are left.
    assert lines[-1] == "epoch 2/3  step 1/2  loss 0.50000  60 s left\n"


def test_no_figure_spoils_an_object() -> None:
    """What is not finite, as the best of none, is null: JSON knows no infinity."""
    lines: list[str] = []
    state = small_state(CONFIG, STEPS)
    Progress(val_metric(CONFIG), "json", lines.append).after_epoch(state, {"train/loss": float("nan")})

    parsed = json.loads(lines[0], parse_constant=lambda word: pytest.fail(word))
    assert parsed["best_nme"] is None and parsed["train/loss"] is None


@pytest.mark.parametrize(
    "line",
    ["", "trial 3/9: 4 %", "an epoch 1/2  passed", "epoch 1/0  loss 1", "{}", '{"step": 1, "total_steps": 0}', "[1]",
     '{"step": "x", "total_steps": 2}', '{"step": null, "total_steps": 2}', "3", "error: epoch 1/2"],
)  # fmt: skip
def test_other_lines_say_nothing(line: str) -> None:
    """A log holds all kinds of lines."""
    assert finished_share(line) is None


def test_a_state_knows_its_steps() -> None:
    """Those of all epochs."""
    state: TrainState = small_state(CONFIG, STEPS)

    assert (state.steps_per_epoch, state.total_steps) == (STEPS, STEPS * EPOCHS)
