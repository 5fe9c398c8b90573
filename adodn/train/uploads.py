"""Checkpoints on their way to storage: a full bucket costs a checkpoint, not at once the training.

uploads = Uploads(store, "s3://adodn/runs/NAME")
uri = uploads.send(path)         # or None, with a warning
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

from adodn.data.store import S3Store
from adodn.errors import CheckpointError, StorageError

_LOG = logging.getLogger(__name__)


class Uploads:
    """Copies checkpoints to storage, each to a folder of its own.

    Args:
        store: The storage.
        base_uri: The run's folder there.
        tolerated: How many times in a row it may fail.
    """

    def __init__(self, store: S3Store, base_uri: str, *, tolerated: int = 2) -> None:
        self._store, self._base_uri, self._tolerated = store, base_uri, tolerated
        self._failed = 0

    def send(self, file: Path) -> str | None:
        """The folder in which a copy of the file lies now; None, and a warning, if the storage did not take it.

        Raises:
            CheckpointError: If it has not taken any more often in a row than is tolerated.
        """
        folder_uri = f"{self._base_uri}/checkpoint_{datetime.now(UTC):%Y-%m-%d_%H-%M-%S.%f}"
        try:
            self._store.put(f"{folder_uri}/{file.name}", file.read_bytes())
        except StorageError as error:
            self._failed += 1
            if self._failed > self._tolerated:
                raise CheckpointError(
                    f"no checkpoint could be written, {self._failed} times in a row: {error}; make room, or correct "
                    "quota and rights, then start the run again under its name: it goes on at its last checkpoint"
                ) from error
            _LOG.warning("no checkpoint, training goes on without it: %s", error)
            return None
        self._failed = 0
        return folder_uri
