"""Reads every face of a dataset once, in parallel, and keeps of each what a plan needs. It plans nothing.

good, bad = examine_all(dataset, dataset.index(), ImagePolicy(), threads=4)

The answer does not depend on the number of threads. No image is kept, and no more than a few per thread are in memory.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from adodn.data.crop import examine
from adodn.data.manifest import ImagePolicy
from adodn.errors import AnnotationError
from adodn.samples import Dataset, FaceSample, SampleRef

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, what is done and what there is in all."""

_RUN = 16
"""Faces that one thread takes at a time, neighbours in the index: videos are read forward."""
_AHEAD = 3
"""Runs per thread that may wait for a slower one."""


@dataclass(frozen=True, slots=True)
class ExaminedFace:
    """What a plan needs of a face."""

    digest: str
    """As `face_digest` says."""
    keeps_bytes: bool
    """Whether the stored image is the original's bytes."""
    image_bytes: int
    """Size of the stored image, about."""
    num_landmarks: int


def examine_all(
    dataset: Dataset,
    refs: Sequence[SampleRef],
    policy: ImagePolicy,
    *,
    threads: int,
    progress: Progress | None = None,
) -> tuple[dict[str, ExaminedFace], dict[str, str]]:
    """Read and check faces.

    Args:
        dataset: Where they are.
        refs: Which.
        policy: How their images would be stored.
        threads: How many read at a time; decoding runs in parallel.
        progress: Told of faces read, in this thread.

    Returns:
        Key → what was found, and key → reason for those that cannot be read or stored; both in the order of `refs`.
    """
    good: dict[str, ExaminedFace] = {}
    bad: dict[str, str] = {}
    runs = (refs[start : start + _RUN] for start in range(0, len(refs), _RUN))
    for run, found in _in_order(lambda run: [_examined(dataset, ref, policy) for ref in run], runs, threads):
        for ref, result in zip(run, found, strict=True):
            if isinstance(result, str):
                bad[ref.key] = result
            else:
                good[ref.key] = result
        if progress:
            progress("read", len(good) + len(bad), len(refs))
    return good, bad


def face_digest(sample: FaceSample, image_sha256: str) -> str:
    """sha256 over what a dataset gives for a face: image, landmarks, visibility, box, attributes.

    Args:
        sample: The face.
        image_sha256: Of the image's bytes; whoever needs the digest needs this too.
    """
    said = json.dumps([image_sha256, sample.landmarks.shape, sample.attributes], sort_keys=True)
    numbers = np.concatenate([np.ravel(sample.landmarks), np.asarray(sample.box, dtype=np.float64)])
    digest = hashlib.sha256(said.encode())
    digest.update(numbers.astype("<f8", copy=False).tobytes())
    digest.update(sample.visible.astype(np.uint8, copy=False).tobytes())
    return digest.hexdigest()


def _examined(dataset: Dataset, ref: SampleRef, policy: ImagePolicy) -> ExaminedFace | str:
    try:
        sample = dataset.read(ref)
        storing = examine(sample, policy)
    except AnnotationError as error:
        return _portable(str(error), dataset)
    digest = face_digest(sample, hashlib.sha256(sample.image).hexdigest())
    return ExaminedFace(digest, storing.keeps_bytes, storing.image_bytes, len(sample.landmarks))


def _portable(reason: str, dataset: Dataset) -> str:
    """The reason with paths relative to the dataset's folder, where it has one: it becomes part of the manifest."""
    root = getattr(dataset, "root", None)
    return reason.replace(f"{root}/", "") if isinstance(root, Path) else reason


def _in_order(
    work: Callable[[Sequence[SampleRef]], list[ExaminedFace | str]],
    runs: Iterator[Sequence[SampleRef]],
    threads: int,
) -> Iterator[tuple[Sequence[SampleRef], list[ExaminedFace | str]]]:
    """Each run with its result, in order; only a few runs are ever begun and not yet given out."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[Sequence[SampleRef], Future[list[ExaminedFace | str]]]] = deque()
    try:
        waiting.extend((run, pool.submit(work, run)) for run in islice(runs, _AHEAD * threads))
        while waiting:
            run, future = waiting.popleft()
            yield run, future.result()
            waiting.extend((run, pool.submit(work, run)) for run in islice(runs, 1))
    finally:
        pool.shutdown(cancel_futures=True)
