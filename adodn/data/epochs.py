"""What all loaders of training have in common: epochs that can be gone on with, and batches prepared ahead.

Not here: which faces make up a batch, and what is done to them.

    class ShardLoader(EpochLoader): ...
    for batch in loader:          # one epoch; the next loop is the next epoch
        saved = loader.state_dict()
"""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import cv2

from adodn.errors import CheckpointError
from adodn.samples import Batch

_DOWNLOADS_AT_ONCE = 4
B = TypeVar("B", bound=Batch, covariant=True)
T = TypeVar("T", bound=Batch)


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """How a batch is made: in parts, at which several threads work, so that none waits for one of them."""

    parts: Sequence[Callable[[], T]]
    """Each makes some of the faces."""
    join: Callable[[Sequence[T]], T]
    """Makes the batch of what the parts made."""


class EpochLoader(ABC, Generic[B]):
    """One epoch an iteration, resumable at any step.

    Args:
        dataset: Digest of what is loaded; a state of another is refused.
        seed: Seed of the experiment.
        global_batch: Faces in a batch, over all ranks.
        num_threads: Threads that prepare batches.
        prefetch: Batches kept ready ahead of the consumer.
        pin_memory: Whether those threads also put batches where a GPU can fetch them.
    """

    def __init__(
        self, *, dataset: str, seed: int, global_batch: int, num_threads: int, prefetch: int, pin_memory: bool
    ) -> None:
        self.dataset = dataset
        """Digest of what is loaded."""
        self._seed, self._global_batch = seed, global_batch
        self._num_threads, self._ahead = num_threads, prefetch + num_threads - 1
        self._pin_memory = pin_memory
        self._epoch = self._step = 0

    @abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""

    @abstractmethod
    def _jobs(self, epoch: int, start: int, fetchers: ThreadPoolExecutor) -> Iterator[Job[B]]:
        """Jobs that make the batches from `start` on; the shards of the next window are under way before their turn."""

    @property
    def epoch(self) -> int:
        """The epoch that the next loop yields, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the current one goes on where it is, so that a resumed run may call this too."""
        if epoch != self._epoch:
            self._epoch, self._step = epoch, 0

    def state_dict(self) -> dict[str, int | str]:
        """How far the consumer has come, in batches handed out. The same on every rank, for any number of ranks."""
        return {
            "epoch": self._epoch,
            "step": self._step,
            "seed": self._seed,
            "dataset": self.dataset,
            "global_batch": self._global_batch,
        }

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Go on where a state was taken, on any number of ranks.

        Raises:
            CheckpointError: If it was taken with another dataset, seed or global batch, or its place does not exist.
        """
        own = self.state_dict()
        for name in ("dataset", "seed", "global_batch"):
            if state.get(name) != own[name]:
                raise CheckpointError(f"loader state has {name} {state.get(name)!r}, this loader {own[name]!r}")
        epoch, step = state.get("epoch"), state.get("step")
        if not (isinstance(epoch, int) and isinstance(step, int) and epoch >= 0 and 0 <= step <= len(self)):
            raise CheckpointError(
                f"loader state must have epoch >= 0 and step in 0 … {len(self)}, got epoch {epoch!r}, step {step!r}"
            )
        self._epoch, self._step = epoch, step

    def __iter__(self) -> Iterator[B]:
        # The batches are spread over our threads already; OpenCV's own would fight them for the same cores.
        cv2.setNumThreads(0)
        epoch, start = self._epoch, self._step
        with (
            _workers(_DOWNLOADS_AT_ONCE, "adodn-fetch") as fetchers,
            _workers(self._num_threads, "adodn-prepare") as preparers,
        ):
            jobs = self._jobs(epoch, start, fetchers)
            if self._pin_memory:
                jobs = (Job(job.parts, partial(_pinned, job.join)) for job in jobs)
            for step, batch in enumerate(_in_order(jobs, preparers, self._ahead), start + 1):
                self._step = step
                yield batch
        self._epoch, self._step = epoch + 1, 0


def _pinned(join: Callable[[Sequence[T]], T], made: Sequence[T]) -> T:
    return join(made).pin_memory()


@contextmanager
def _workers(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(count, name)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _in_order(jobs: Iterable[Job[T]], workers: ThreadPoolExecutor, ahead: int) -> Iterator[T]:
    pending: deque[Future[T]] = deque()
    for job in jobs:
        pending.append(_Making(job, workers).batch)
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


class _Making(Generic[T]):
    """A batch whose parts are in line. Who makes the last of them joins them, so that no thread waits for another."""

    def __init__(self, job: Job[T], workers: ThreadPoolExecutor) -> None:
        self.batch: Future[T] = Future()
        self._job, self._made, self._lock = job, dict[int, T](), threading.Lock()
        for number in range(len(job.parts)):
            workers.submit(self._make, number)

    def _make(self, number: int) -> None:
        try:
            made = self._job.parts[number]()
            with self._lock:
                self._made[number] = made
                is_last = len(self._made) == len(self._job.parts)
            if is_last:
                self.batch.set_result(self._job.join([self._made[place] for place in sorted(self._made)]))
        except BaseException as error:
            with self._lock:
                if not self.batch.done():  # another part may have failed before
                    self.batch.set_exception(error)
