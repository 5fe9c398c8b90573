"""A run's checkpoints: saved beside the training, and the last whole one to go on from.

    with Checkpoints(store, "s3://adodn/runs/NAME") as kept:
        content = kept.claim()          # None: there is none yet
        kept.add(state, val_nme=0.05)   # returns once the state is copied
    read_best(store, "s3://adodn/runs/NAME")

One process of a training saves. Kept are the best, the last, and the one before the last. The list of them, with their
sha256, is written after their bytes (`checkpoint_index`), so what it names was once whole.
"""

import hashlib
import logging
import math
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

from adodn.data.store import S3Store
from adodn.errors import AnotherSavesError, CheckpointError, StorageError
from adodn.train import checkpoint
from adodn.train.checkpoint_index import PREFIX, Index, IndexFile, Kept, better
from adodn.train.state import TrainState
from adodn.train.uploads import Uploads

_LOG = logging.getLogger(__name__)


class Checkpoints:
    """What the saving process of a training does. Leaving the `with` waits for what is on its way to storage.

    Args:
        store: The storage.
        base_uri: The run's folder there.
    """

    def __init__(self, store: S3Store, base_uri: str) -> None:
        self._given, self._store, self._base_uri = store, store, base_uri
        self._file = IndexFile(store, base_uri)
        self._index = Index(writer="", generation=0)
        self._damaged: list[Kept] = []
        """What the list on storage still names."""
        self._lost: tuple[dict[str, Any], Kept] | None = None
        """Of the checkpoints that storage has not taken, the one of least validation error: the best, if any is."""
        self._uploads = Uploads()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._uploads.finish()
        else:
            self._uploads.wait()

    @property
    def failures(self) -> int:
        """How many checkpoints the storage has not taken since this training was started."""
        return self._uploads.failures

    def claim(self) -> bytes | None:
        """Become the one that saves, in the place of whoever was; once, before the first `add`.

        Returns:
            The last checkpoint that is whole; None if the run has none.

        Raises:
            CheckpointError: If there are some and none is whole, or what lists them is damaged.
        """
        self._begin()
        while True:
            before = self._file.read()
            generation = before.generation + 1 if before else 0
            self._index = replace(before or self._index, writer=uuid4().hex, generation=generation)
            if self._file.write(self._index):
                break
        if before is None:
            return None
        self._forget_others()
        return self._last_whole()

    def add(self, state: TrainState, val_nme: float | None) -> None:
        """Save the state as it is now; where storage does not take it, go on without, as often as is tolerated.

        Args:
            state: The same on all workers (`synchronise`).
            val_nme: Validation error, a fraction; None between epochs.

        Raises:
            CheckpointError: If the one before was not taken, too often in a row; or another process saves this run now.
        """
        self.settle()
        folder = f"{PREFIX}epoch{state.epoch}_step{state.step}_{self._index.writer[:8]}"
        added = Kept(folder=folder, sha256="", epoch=state.epoch, step=state.step, val_nme=val_nme)
        self._uploads.start(partial(self._write, checkpoint.snapshot(state), added))

    def settle(self) -> None:
        """Wait for the checkpoint that is on its way.

        Raises:
            CheckpointError: As `add`.
        """
        self._uploads.settle()

    def _write(self, saved: dict[str, Any], added: Kept) -> None:
        """Save one, after the lost one if that would be the best: the outcome is the best, whenever storage failed."""
        self._begin()
        try:
            if self._lost and added != self._lost[1] == better(self._index.best, self._lost[1]):
                self._save(*self._lost)
            self._lost = None
            self._save(saved, added)
        except StorageError:
            if added.val_nme is not None and (self._lost is None or better(self._lost[1], added) == added):
                self._lost = saved, added
            raise

    def _begin(self) -> None:
        """What follows is all done within the deadline of one operation: the other workers may be waiting for it."""
        self._store = self._file.store = self._given.within(self._given.deadline_s)

    def _save(self, saved: dict[str, Any], added: Kept) -> None:
        content = checkpoint.to_bytes(saved)
        self._store.put(self._uri(added), content)
        self._commit(replace(added, sha256=_sha256(content)))

    def _commit(self, added: Kept) -> None:
        """Put a checkpoint that is whole on the list, and delete what is no longer named there."""
        named, after = self._index.named + self._damaged, self._index.with_added(added)
        while not self._file.write(after):
            # The answer to an earlier write may have been lost: then the list that is there is this writer's own.
            there = self._file.read()
            if there is None or there.writer != after.writer:
                if there is None or added not in there.named:
                    self._forget(self._uri(added))
                raise AnotherSavesError(
                    f"{self._file.uri}: another process saves this run now, this one ends; start a run once, or under "
                    "two names"
                )
            named, after = named + there.named, there.with_added(added)
        self._index = after
        for uri in {self._uri(kept) for kept in named} - {self._uri(kept) for kept in after.named}:
            self._forget(uri)
        self._damaged = []

    def _last_whole(self) -> bytes | None:
        problems: list[str] = []
        for kept in self._index.named:
            content, problem = _read(self._store, self._uri(kept), kept)
            if content is not None:
                if problems:
                    _LOG.warning("%s; going on at %s instead", "; ".join(problems), self._uri(kept))
                return content
            problems.append(problem)
            self._index = _without(self._index, kept)
            self._damaged.append(kept)
        if problems:
            raise CheckpointError(f"no checkpoint is whole: {'; '.join(problems)}; train again under a new run name")
        return None

    def _forget_others(self) -> None:
        """Delete what a process that died in between left: not yet, or no more, on the list."""
        named = {self._uri(kept) for kept in self._index.named}
        found = [info.uri for info in self._store.list(f"{self._base_uri}/{PREFIX}")]
        for uri in found:
            if uri.endswith(f"/{checkpoint.FILE_NAME}") and uri not in named:
                self._forget(uri)

    def _forget(self, uri: str) -> None:
        try:
            self._store.delete(uri)
        except StorageError as error:
            _LOG.warning("an old checkpoint stays until the next start: %s", error)

    def _uri(self, kept: Kept) -> str:
        return _uri(self._base_uri, kept)


def read_best(store: S3Store, base_uri: str) -> tuple[Kept, int]:
    """The checkpoint of least validation error, and how many epochs are finished in the last.

    Raises:
        CheckpointError: If there is none, or it is not whole.
    """
    index = IndexFile(store, base_uri).read()
    if index is None or index.best is None or index.best.error == math.inf:
        raise CheckpointError(
            f"{base_uri}: no checkpoint with a finite validation error was kept; train again under a new run name"
        )
    content, problem = _read(store, _uri(base_uri, index.best), index.best)
    if content is None:
        raise CheckpointError(f"{problem}; train again under a new run name")
    return index.best, max(kept.epoch for kept in index.named)


def _without(index: Index, damaged: Kept) -> Index:
    left = tuple(kept for kept in index.latest if kept != damaged)
    best = index.best if index.best != damaged else None
    for kept in left:
        best = better(best, kept)
    return replace(index, latest=left, best=best)


def _uri(base_uri: str, kept: Kept) -> str:
    return f"{base_uri}/{kept.folder}/{checkpoint.FILE_NAME}"


def _read(store: S3Store, uri: str, kept: Kept) -> tuple[bytes | None, str]:
    """The content, or what is wrong with it; a store that does not answer is an error of its own."""
    if not store.exists(uri):
        return None, f"{uri} is missing"
    content = store.get(uri)
    found = _sha256(content)
    return (content, "") if found == kept.sha256 else (None, f"{uri} is damaged: its sha256 is {found}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
