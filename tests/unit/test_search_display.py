"""What a search shows while it runs, and how often: it is drawn by the process that leads all trials.

pytest tests/unit/test_search_display.py
"""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from adodn.commands.search import _Display


class Rows:
    """Rows of one trial, and how often they were made."""

    def __init__(self, state: str) -> None:
        self.made = 0
        self.row: dict[str, Any] = {"number": 0, "state": state, "epochs": 1, "nme": 0.05, "values": [], "params": {}}

    def __call__(self) -> list[dict[str, Any]]:
        self.made += 1
        return [{**self.row, "error": None}]


def test_without_a_terminal_only_an_end_is_worth_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred reports of epochs make none; the end of a trial is told once."""
    shown, running, ended = _Display(6, None), Rows("RUNNING"), Rows("COMPLETE")

    for _ in range(100):
        shown(running, is_over=False)
    shown(ended, is_over=True)
    shown(ended, is_over=True)

    assert (running.made, ended.made) == (0, 2)
    assert capsys.readouterr().err.splitlines() == ["trial 1/6: number 0  COMPLETE  nme 5.000 %"]


def test_with_a_terminal_rows_are_made_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred reports within a second; an end is shown at once."""
    now = 1000.0
    monkeypatch.setattr("adodn.commands.search.time.monotonic", lambda: now)
    shown, rows = _Display(6, Live(console=Console(file=io.StringIO()), auto_refresh=False)), Rows("RUNNING")

    for _ in range(100):
        now += 0.01
        shown(rows, is_over=False)
    assert rows.made == 2

    shown(rows, is_over=True)
    assert rows.made == 3
