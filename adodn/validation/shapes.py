"""Judges each face's shape by those of the dataset's other faces. What they look like is in `shape_model`.

    for finding in shape_findings(landmarks, places, refs, protocol): ...

A shape is what is left of landmarks when place, size and in-plane rotation are taken away, so none of these matters.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from adodn.protocols import LandmarkProtocol
from adodn.samples import SampleRef
from adodn.validation.findings import Finding
from adodn.validation.shape_model import Reals, deviations, fit, procrustes_distance, standardised

MIN_FACES = 40
"""Fewer do not say what is usual."""
MIRRORED_RATIO = 0.8
"""Mirrored, if the distance from the mean shape shrinks below this share when left and right are exchanged."""
POINT_DISTANCE = 0.2
"""Share of the normaliser that a point must be off to be reported."""
POINT_RATIO = 8.0
"""Times what is usual for the point that it must be off besides."""
MODEL_LANDMARKS = 15
"""Protocols of fewer landmarks do not say where one belongs once pose is allowed for; `GROSS_DISTANCE` alone counts."""
GROSS_DISTANCE = 0.7
"""Procrustes distance from the mean shape, 0 … 1, that no pose explains; profiles reach 0.5, exact ones 0.6."""
POINT_SHARE = 0.1
"""Share of the landmarks that may be off one by one; with more of them it is the shape."""
SHAPE_SCORE = 4.0
"""Robust standard scores of the logarithm of the residual from which a shape counts as implausible."""
SHAPE_RESIDUAL = 0.03
"""Share of the normaliser that the residual must exceed besides."""


def shape_findings(
    landmarks: Reals, places: Sequence[int], refs: Sequence[SampleRef], protocol: LandmarkProtocol
) -> list[Finding]:
    """Mirrored landmarks, implausible shapes and single points that are off; a face is in one of these lists at most.

    Args:
        landmarks: `[N, L, 2]`, of faces that have no errors.
        places: Their N places in the index.
        refs: The whole index.
        protocol: Layout of the landmarks.

    Returns:
        Nothing for fewer than `MIN_FACES` faces, or a protocol without normalisers.
    """
    if len(landmarks) < MIN_FACES or not protocol.normalisers:
        return []
    shapes = standardised(landmarks)
    model = fit(shapes, protocol)
    distance = procrustes_distance(shapes, model.mean)
    ratio = procrustes_distance(shapes[:, list(protocol.flip)], model.mean) / np.maximum(distance, 1e-12)
    judged = ratio >= MIRRORED_RATIO
    if protocol.num_landmarks < MODEL_LANDMARKS:
        found = [*_mirrored(ratio), *_gross(distance, judged)]
    else:
        off = deviations(model, shapes)
        times = off * model.unit / np.maximum(model.usual, 1e-12)
        found = [*_mirrored(ratio), *_off_model(off, times, judged, protocol)]
    return [
        Finding(
            face=places[row],
            key=refs[places[row]].key,
            locator=refs[places[row]].locator,
            check=check,
            sentence=sentence,
            score=score,
            points=points,
        )
        for row, check, sentence, score, points in found
    ]


_Found = tuple[int, str, str, float, tuple[int, ...]]
"""Row, check, sentence, score, points."""


def exchanged_sides(landmarks: Reals, protocol: LandmarkProtocol) -> str | None:
    """A sentence, if in most faces the person's right lies right in the image: then it is the whole dataset's fault.

    Args:
        landmarks: `[N, L, 2]`, pixels.
        protocol: Layout of the landmarks; it has a normaliser, whose groups are right and left.
    """
    if not len(landmarks) or not protocol.normalisers:
        return None
    name, (right, left) = next(iter(protocol.normalisers.items()))
    wrong = landmarks[:, list(right), 0].mean(axis=1) > landmarks[:, list(left), 0].mean(axis=1)
    if wrong.mean() <= 0.5:
        return None
    return (
        f"in {int(wrong.sum())} of {len(wrong)} faces the right point of {name!r} lies right of the left one in the "
        f"image; protocol {protocol.name!r} means the person's right: exchange the sides, unless faces are upside down"
    )


def _mirrored(ratio: Reals) -> Iterator[_Found]:
    for row in np.flatnonzero(ratio < MIRRORED_RATIO).tolist():
        sentence = (
            f"exchanging left and right leaves a sound face at least {MIRRORED_RATIO:g} of its distance from the mean "
            f"shape, this one {ratio[row]:.2f}; exchange the points, or mirror the image"
        )
        yield row, "mirrored-landmarks", sentence, 1 - float(ratio[row]), ()


def _gross(distance: Reals, judged: NDArray[np.bool_]) -> Iterator[_Found]:
    for row in np.flatnonzero(judged & (distance > GROSS_DISTANCE)).tolist():
        sentence = (
            f"a face in any pose lies within {GROSS_DISTANCE:g} of the mean shape by Procrustes distance, this one at "
            f"{distance[row]:.2f}: points are exchanged, or are not of a face"
        )
        yield row, "implausible-shape", sentence, float(distance[row]), ()


def _off_model(off: Reals, times: Reals, judged: NDArray[np.bool_], protocol: LandmarkProtocol) -> Iterator[_Found]:
    """`off` and `times` are `[N, L]`: distances as shares of the normaliser, and as multiples of what is usual."""
    astray = (off > POINT_DISTANCE) & (times > POINT_RATIO)
    residual = np.sqrt((np.square(off) * ~astray).sum(axis=1) / np.maximum(1, (~astray).sum(axis=1)))
    score = _robust_score(np.log(np.maximum(residual, 1e-9)))
    crowded = astray.sum(axis=1) > max(1, POINT_SHARE * protocol.num_landmarks)
    strange = judged & (((score > SHAPE_SCORE) & (residual > SHAPE_RESIDUAL)) | crowded)
    for row in np.flatnonzero(strange).tolist():
        yield _implausible(row, off[row], tuple(np.flatnonzero(astray[row]).tolist()), float(score[row]))
    for row in np.flatnonzero(judged & ~strange & astray.any(axis=1)).tolist():
        yield _astray(row, off[row], np.flatnonzero(astray[row]).tolist(), protocol)


def _implausible(row: int, off: Reals, points: tuple[int, ...], score: float) -> _Found:
    distance = float(np.sqrt(np.square(off).mean()))
    sentence = (
        f"its landmarks lie {distance:.3f} of the normaliser from the nearest shape that the other faces explain, "
        f"{len(points)} of them more than {POINT_DISTANCE:g}; score {score:.1f}, usual are up to {SHAPE_SCORE:g}"
    )
    return row, "implausible-shape", sentence, distance, points


def _astray(row: int, off: Reals, points: list[int], protocol: LandmarkProtocol) -> _Found:
    worst_first = sorted(points, key=lambda point: -off[point])
    named = ", ".join(f"{point} ({protocol.names[point]}) by {off[point]:.2f}" for point in worst_first)
    sentence = (
        f"points off by more than {POINT_DISTANCE:g} of the normaliser from where the other points have them: {named}"
    )
    return row, "landmark-outlier", sentence, float(off.max()), tuple(points)


def _robust_score(values: Reals) -> Reals:
    """Standard scores by median and median absolute deviation."""
    centre = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - centre))
    return np.asarray((values - centre) / max(float(spread), 1e-9))
