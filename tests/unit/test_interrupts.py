"""Ctrl-C and SIGTERM: one way to end, and a second one that disturbs nothing.

pytest tests/unit/test_interrupts.py
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from adodn import recipes
from adodn.commands.train import trained
from adodn.interrupts import EXIT_CODE, ended_alike, stopped_in_one_line, undisturbed
from adodn.settings import Settings

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Python's own handler of Ctrl-C, as in a terminal; whatever a test sets is put back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("exits", [False, True], ids=["python", "as Ray does"])
def test_both_signals_are_one_interrupt(number: signal.Signals, exits: bool) -> None:
    """Also where a handler was set inside that exits with 0, as Ray Train's does; handlers of before come back."""
    before = [signal.getsignal(one) for one in SIGNALS]

    with pytest.raises(KeyboardInterrupt), ended_alike():
        if exits:
            signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
        signal.raise_signal(number)

    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_a_process_that_is_deaf_to_ctrl_c_still_hears_sigterm() -> None:
    """A shell's background job ignores SIGINT from birth."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    with pytest.raises(KeyboardInterrupt), ended_alike():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_clearing_up_is_not_disturbed(number: signal.Signals) -> None:
    """Neither signal does anything within; afterwards, both do."""
    with undisturbed():
        signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_thread_is_left_as_it_is() -> None:
    """Signals arrive in the first thread alone; in another, an exit stays one."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with ended_alike(), undisturbed():
                sys.exit(3)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert isinstance(raised[0], SystemExit)


def test_a_stopped_command_says_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What is left and how to go on, and the exit code of Ctrl-C."""
    with pytest.raises(SystemExit) as ended, stopped_in_one_line("give it again"):
        raise KeyboardInterrupt

    assert (ended.value.code, capsys.readouterr().err) == (EXIT_CODE, "stopped; give it again\n")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("where", ["adodn.publish.claim_run", "adodn.train.distributed.connect"])
def test_a_training_is_stopped_in_one_line_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str, number: signal.Signals
) -> None:
    """While it asks the store for the run, and while it joins the cluster, too."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.fail("as if there were nobody to hear it"))
    monkeypatch.setattr("adodn.publish.claim_run", lambda *_: None)
    monkeypatch.setattr(where, lambda *_: signal.raise_signal(number))

    with pytest.raises(SystemExit) as ended:
        trained(recipes.get("adodn_smoke"), ["s3://a/b"], "first", Settings(ray_address=""))

    assert ended.value.code == EXIT_CODE
    assert capsys.readouterr().err.startswith("stopped; run 'first' goes on at its last checkpoint")


def test_a_stopped_process_hears_no_more() -> None:
    """`adodn` that was stopped ends with its one line, however often it is told again while Ray takes its leave."""
    program = (
        "import atexit, os, signal, sys, time\n"
        "from adodn import cli\n"
        "from adodn.interrupts import EXIT_CODE\n"
        "def stopped(): sys.exit(EXIT_CODE)\n"
        "cli.build = lambda *modules: stopped\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), os.kill(os.getpid(), signal.SIGTERM)))\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))

    assert (done.returncode, done.stderr) == (EXIT_CODE, "")
