"""What a run tells MLflow while it goes on: sent in order by a thread of its own, for a server may hang.

outbox = Outbox()
outbox.add(call)        # returns within two seconds
outbox.flush()          # at the end: also what an outage held back
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from adodn.errors import TrackingAwayError, TrackingError

_LOG = logging.getLogger(__name__)


class Outbox:
    """Calls of which each is made until it gets through. One that is refused is dropped, with an error.

    Args:
        wait_s: How long `add` waits for the thread. A server that is well has heard of an epoch before its checkpoint
            is saved, and what it refuses is an error at once.
    """

    def __init__(self, *, wait_s: float = 2.0) -> None:
        self._wait_s = wait_s
        self._unsent: deque[Callable[[], None]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._running: Future[None] | None = None

    def __len__(self) -> int:
        return len(self._unsent)

    def add(self, call: Callable[[], None]) -> None:
        """Make a call after those before: now, or with the next, or at `flush` if the thread hangs at one.

        Args:
            call: Raises TrackingAwayError if it may get through later. May be made twice.

        Raises:
            TrackingError: If this call or one before was refused.
        """
        self._unsent.append(call)
        self._look(0)
        if self._running is None:
            self._running = self._thread.submit(self._send_or_warn)
            self._look(self._wait_s)

    def flush(self) -> None:
        """Wait for the thread, and make the calls that are left.

        Raises:
            TrackingError: If the server is away, in which case it can be tried again, or refused a call.
        """
        self._look(None)
        self._send()

    def _look(self, wait_s: float | None) -> None:
        """Hear what the thread came to, if it is done by then."""
        if self._running is None or wait([self._running], wait_s).not_done:
            return
        running, self._running = self._running, None
        running.result()

    def _send_or_warn(self) -> None:
        """In the thread."""
        try:
            self._send()
        except TrackingAwayError as error:
            _LOG.warning("%s; %d epochs are kept to be sent later", error, len(self._unsent))

    def _send(self) -> None:
        """In one thread at a time."""
        while self._unsent:
            try:
                self._unsent[0]()
            except TrackingAwayError:
                raise
            except TrackingError:
                self._unsent.popleft()  # or it would stand in the way of all that follow
                raise
            self._unsent.popleft()
