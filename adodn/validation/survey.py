"""Looks at all faces of a dataset, several at a time, then compares them with each other.

    report = validate(datasets.open("300w", root), progress=lambda stage, done, total: None)

Of each face only its landmarks, a hash and a signature of 1 KB are kept, so memory does not grow with the images.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from adodn.data.examination import Progress
from adodn.data.manifest import ImagePolicy
from adodn.data.plan import check_ref
from adodn.errors import DataError
from adodn.samples import Dataset, SampleRef
from adodn.validation.duplicates import parted_groups, repeated_images
from adodn.validation.findings import CHECKS, Finding
from adodn.validation.looking import Look, look_at
from adodn.validation.report import Report
from adodn.validation.shapes import exchanged_sides, shape_findings

_POLICY = ImagePolicy()
_AHEAD = 4
"""Faces a thread that may wait, so that images do not pile up."""


def validate(
    dataset: Dataset,
    policy: ImagePolicy = _POLICY,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check every face of a dataset; the report does not depend on the number of threads.

    Args:
        dataset: The raw dataset.
        policy: How sharding would store its images.
        threads: How many read and decode at the same time; by default one a core, 16 at most.
        progress: Told of every face looked at.

    Raises:
        DataError: If the dataset is empty.
    """
    refs = dataset.index()
    if not refs:
        raise DataError(f"dataset {dataset.name!r} has no faces")
    looks = _looks(dataset, refs, policy, threads or min(16, os.cpu_count() or 1), progress)
    sound = [place for place, look in enumerate(looks) if look.landmarks is not None]
    shape = (len(sound), dataset.protocol.num_landmarks, 2)
    landmarks = np.array([looks[place].landmarks for place in sound], dtype=np.float64).reshape(shape)
    findings = [
        *_key_findings(dataset.name, refs),
        *(finding for look in looks for finding in look.findings),
        *shape_findings(landmarks, sound, refs, dataset.protocol),
        *repeated_images([look.image for look in looks if look.image is not None], refs),
        *parted_groups(refs),
    ]
    exchanged = exchanged_sides(landmarks, dataset.protocol)
    return Report(
        dataset=dataset.name,
        protocol=dataset.protocol.name,
        policy=policy,
        splits=dict(sorted(Counter(ref.split for ref in refs).items())),
        problems=(*dataset.problems, *([exchanged] if exchanged else [])),
        findings=tuple(sorted(findings, key=_order)),
    )


def _order(finding: Finding) -> tuple[int, float, int]:
    return list(CHECKS).index(finding.check), -finding.score, finding.face


def _looks(
    dataset: Dataset, refs: Sequence[SampleRef], policy: ImagePolicy, threads: int, progress: Progress | None
) -> list[Look]:
    """In the order of the index."""
    looks: list[Look] = []
    waiting: deque[Future[Look]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="look") as pool:
        try:
            for face, ref in enumerate(refs):
                waiting.append(pool.submit(look_at, dataset, face, ref, policy))
                while waiting and (len(waiting) > _AHEAD * threads or face + 1 == len(refs)):
                    looks.append(waiting.popleft().result())
                    if progress:
                        progress("look", len(looks), len(refs))
        except BaseException:  # Ctrl-C too: what waits is dropped, so that leaving the pool takes a moment only
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return looks


def _key_findings(dataset: str, refs: Sequence[SampleRef]) -> Iterator[Finding]:
    times = Counter(ref.key for ref in refs)
    for face, ref in enumerate(refs):
        try:
            check_ref(ref, times[ref.key], dataset)
        except DataError as error:
            yield Finding(
                face=face, key=ref.key, locator=ref.locator, check="illegal-key", sentence=str(error), score=0.0
            )
