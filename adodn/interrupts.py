"""Ctrl-C and SIGTERM end long work alike: as `KeyboardInterrupt`, and what is cleared up then is not disturbed again.

with ended_alike():
    trainer.fit()

with stopped_in_one_line("run 'first' goes on when the same command is given again"):
    train()
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 130
"""Of a command that was stopped, as shells have it for Ctrl-C."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ended_alike() -> Iterator[None]:
    """Within, SIGTERM does what Ctrl-C does, and whatever handlers make of either is a `KeyboardInterrupt`.

    Ray's handler of SIGINT stops the workers and exits with 0, its handler of SIGTERM exits at once. A thread that is
    not the first hears of no signal: there, nothing changes.

    Raises:
        KeyboardInterrupt: Where a handler called `sys.exit`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    signal.signal(signal.SIGTERM, _like_ctrl_c)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, neither signal does anything: a second Ctrl-C does not keep the first from being cleared up after."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopped_in_one_line(way_on: str) -> Iterator[None]:
    """End the process at an interruption, with one line on stderr.

    Args:
        way_on: What is left, and how to go on.

    Raises:
        SystemExit: With `EXIT_CODE`.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped; {way_on}\n")
        sys.stderr.flush()
        raise SystemExit(EXIT_CODE) from None


def only_end() -> None:
    """From now on this process hears no signal that it can ignore: it is stopped, and what is left is to end."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _like_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Leave it to the handler of Ctrl-C that is set by then, which may be Ray Train's or Ray Tune's."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a process that was born deaf to Ctrl-C, as those that a shell runs in the background
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
