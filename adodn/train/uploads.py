"""Writes to storage beside the training: one at a time, in a thread of their own.

    uploads = Uploads()
    uploads.settle()            # wait for the one before
    uploads.start(write)        # returns at once
    uploads.finish()            # at the end: nothing is left undone

A full bucket costs a checkpoint, not at once the training.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from adodn.errors import CheckpointError, StorageError

_LOG = logging.getLogger(__name__)


class Uploads:
    """Writes whose failures are counted: a few in a row are warnings, one more is an error.

    Args:
        tolerated: How many times in a row a write may fail.
    """

    def __init__(self, *, tolerated: int = 2) -> None:
        self.failures = 0
        """In all."""
        self._tolerated = tolerated
        self._in_a_row = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._write: Callable[[], None] | None = None
        """The latest, until it has succeeded."""
        self._running: Future[StorageError | None] | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Begin a write, once the one before is done; one that failed is made up for by this one.

        Raises:
            CheckpointError: As `settle`.
        """
        self.settle()
        self._write, self._running = write, self._thread.submit(self._attempt, write)

    def settle(self) -> None:
        """Wait for the write that runs.

        Raises:
            CheckpointError: If writes have failed more often in a row than is tolerated, or the write raised it.
        """
        if self._running is None:
            return
        running, self._running = self._running, None
        error = running.result()
        if error is None:
            self._write = None
        elif self._in_a_row > self._tolerated:
            raise CheckpointError(
                f"no checkpoint could be written, {self._in_a_row} times in a row: {error}; make room, or correct "
                "quota and rights, then start the run again under its name: it goes on at its last checkpoint"
            ) from error

    def finish(self) -> None:
        """Wait until the latest write has succeeded; one that failed is tried again.

        Raises:
            CheckpointError: As `settle`.
        """
        self.settle()
        while self._write:
            self.start(self._write)
            self.settle()

    def wait(self) -> None:
        """Wait until nothing runs, whatever comes of it."""
        wait([self._running] if self._running else [])

    def _attempt(self, write: Callable[[], None]) -> StorageError | None:
        """In the thread, which warns at once: whoever trains hears of it at the next checkpoint only."""
        try:
            write()
        except StorageError as error:
            self.failures += 1
            self._in_a_row += 1
            if self._in_a_row <= self._tolerated:
                _LOG.warning("no checkpoint, training goes on without it: %s", error)
            return error
        self._in_a_row = 0
        return None
