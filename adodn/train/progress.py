"""How far a training is, in lines: one at the end of each epoch, and one now and then within a long one.

    progress = Progress("val/nme@inter_ocular", log_format="json")
    progress.after_step(state)
    progress.after_epoch(state, metrics)
    done = finished_share(line)          # of a line of either format, by who reads a log

Text is for people; `ADODN_LOG_FORMAT=json` makes each line an object, for what collects logs on a cluster.
"""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # flows read lines, and need not wait for torch
    from adodn.train.state import TrainState

EVERY_S = 30.0
"""Between two lines within an epoch."""
_TEXT = re.compile(r"^epoch (\d+)/(\d+)  (?:step (\d+)/(\d+)  )?")


def finished_share(line: str) -> float | None:
    """How much of a training a line says is done, from 0 to 1; None if the line is none of these."""
    if found := _TEXT.match(line):
        epoch, epochs, step, steps = (int(number or 0) for number in found.groups())
        # A line within an epoch names that epoch, which is not done.
        done, of = ((epoch - 1) * steps + step, epochs * steps) if steps else (epoch, epochs)
    else:
        try:
            told = json.loads(line)
            done, of = int(told["step"]), int(told["total_steps"])
        except (ValueError, TypeError, KeyError):
            return None
    return min(1.0, done / of) if of > 0 else None


class Progress:
    """Writes the lines of a training; of one process only.

    Args:
        metric: What validation is logged as.
        log_format: Of the lines.
        write: Takes a line, with its end.
    """

    def __init__(
        self, metric: str, log_format: Literal["text", "json"], write: Callable[[str], object] | None = None
    ) -> None:
        self._metric, self._format, self._write = metric, log_format, write or _to_log
        self._began: tuple[float, int] | None = None
        self._said = time.monotonic()

    def after_step(self, state: "TrainState") -> None:
        """Say where the epoch is, if nothing was said for long."""
        now = time.monotonic()
        self._began = self._began or (now, state.step)
        if now - self._said < EVERY_S or not state.epoch_steps:
            return
        self._said = now
        loss = state.epoch_steps[-1][0]
        if self._format == "json":
            self._write_object("step", state, {"train/loss": loss})
            return
        step = state.step - state.epoch * state.steps_per_epoch
        self._write(
            f"epoch {state.epoch + 1}/{state.config.train.epochs}  step {step}/{state.steps_per_epoch}  "
            f"loss {loss:.5f}{self._left(state)}\n"
        )

    def after_epoch(self, state: "TrainState", metrics: Mapping[str, float]) -> None:
        """Say what the epoch came to."""
        self._said = time.monotonic()
        if self._format == "json":
            best = {"best_nme": state.best_nme, "best_epoch": state.best_epoch}
            self._write_object("epoch", state, {**metrics, **best})
            return
        self._write(
            f"epoch {state.epoch}/{state.config.train.epochs}  "
            f"loss {metrics['train/loss']:.5f}  val nme {100 * metrics[self._metric]:.2f} %  "
            f"best {100 * state.best_nme:.2f} % (epoch {state.best_epoch})  "
            f"{metrics['train/faces_per_second']:.0f} faces/s  "
            f"waiting {100 * metrics['train/data_wait_fraction']:.0f} %{self._left(state)}\n"
        )

    def _write_object(self, event: str, state: "TrainState", more: Mapping[str, float]) -> None:
        told = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "fingerprint": state.config.fingerprint(),
            "epoch": state.epoch,  # that are done
            "epochs": state.config.train.epochs,
            "step": state.step,
            "total_steps": state.total_steps,
            "seconds_left": self._seconds_left(state),
            **{name: value if math.isfinite(value) else None for name, value in more.items()},
        }
        self._write(json.dumps(told) + "\n")

    def _left(self, state: "TrainState") -> str:
        seconds = self._seconds_left(state)
        return "" if not seconds else f"  {_duration(seconds)} left"

    def _seconds_left(self, state: "TrainState") -> float | None:
        """By the speed of this process so far, validation included; early stopping may come before."""
        began, first = self._began or (0.0, state.step)
        done = state.step - first
        if not done:
            return None
        return round((time.monotonic() - began) / done * (state.total_steps - state.step), 1)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _to_log(line: str) -> None:
    """To the job's log, where people look; Ray would print a `print` twice."""
    sys.stdout.write(line)
    sys.stdout.flush()
