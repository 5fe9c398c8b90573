"""What is told to a server beside the training: in order, once, and never waited for.

pytest tests/unit/test_outbox.py
"""

import threading
from collections.abc import Callable

import pytest

from adodn.errors import TrackingAwayError, TrackingError
from adodn.outbox import Outbox

Call = Callable[[], None]


class Server:
    """Takes numbers, while it is not away."""

    def __init__(self) -> None:
        self.has: list[int] = []
        self.asked = 0
        self.away = False

    def take(self, number: int) -> Call:
        def call() -> None:
            self.asked += 1
            if self.away:
                raise TrackingAwayError("away")
            self.has.append(number)

        return call

    def refuse(self) -> None:
        self.asked += 1
        raise TrackingError("refused")


def test_what_hangs_holds_up_nobody() -> None:
    """While the first call hangs others are added at once; when it ends, all have arrived in order."""
    server, outbox, answers = Server(), Outbox(), threading.Event()

    def hang() -> None:
        assert answers.wait(600)
        server.take(0)()

    outbox.add(hang)
    for number in (1, 2, 3):
        outbox.add(server.take(number))
    assert server.has == []
    answers.set()
    outbox.flush()

    assert server.has == [0, 1, 2, 3]


def test_an_outage_keeps_all_in_order(caplog: pytest.LogCaptureFixture) -> None:
    """What was added meanwhile goes with the next; it is asked for the first alone, and a warning says how many."""
    server, outbox = Server(), Outbox(wait_s=600)
    server.away = True
    for number in (0, 1, 2):
        outbox.add(server.take(number))
    assert (server.has, server.asked, len(outbox)) == ([], 3, 3)
    assert "away; 3 epochs are kept" in caplog.messages[-1]
    with pytest.raises(TrackingAwayError):
        outbox.flush()
    server.away = False
    outbox.add(server.take(3))

    assert (server.has, len(outbox)) == ([0, 1, 2, 3], 0)


def test_a_refusal_is_an_error_at_once_and_stands_in_no_way() -> None:
    """Whoever added it hears of it, and what comes after arrives."""
    server, outbox = Server(), Outbox(wait_s=600)
    with pytest.raises(TrackingError, match="refused"):
        outbox.add(server.refuse)
    outbox.add(server.take(1))

    assert server.has == [1]


def test_a_late_refusal_is_an_error_of_who_comes_next() -> None:
    """It was not waited for; nothing that was added is lost by it."""
    server, outbox, answers = Server(), Outbox(wait_s=0), threading.Event()

    def refuse_late() -> None:
        assert answers.wait(600)
        server.refuse()

    outbox.add(refuse_late)
    outbox.add(server.take(1))
    answers.set()
    with pytest.raises(TrackingError, match="refused"):
        outbox.flush()
    outbox.flush()

    assert server.has == [1]
