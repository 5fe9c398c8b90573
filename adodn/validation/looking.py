"""Looks at one face: what sharding says of it, then its image file, then where its landmarks lie.

    look = look_at(dataset, 0, ref, ImagePolicy())
    look.findings, look.landmarks, look.image

What is refused is asked of the code that refuses it, so that this cannot come to differ from sharding.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adodn.data import images
from adodn.data.crop import stored_face
from adodn.data.manifest import ImagePolicy
from adodn.errors import AnnotationError
from adodn.metrics import normaliser_of
from adodn.protocols import LandmarkProtocol
from adodn.samples import Dataset, FaceSample, SampleRef
from adodn.validation.duplicates import SeenImage, signature
from adodn.validation.findings import Finding

TINY_PX = 12.0
"""Normaliser below which a face is tiny: an error of one pixel is then 8 %."""
OUTSIDE_SHARE = 0.1
"""Of the face box's larger side that a landmark may lie outside the image."""
HELD_SHARE = 0.5
"""Of the landmarks that a face box should hold: detectors cut chins and brows off, but they find the same face."""

_Fault = tuple[str, str, float, tuple[int, ...]]
"""Check, sentence, score, points."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Look:
    """What is kept of a face."""

    findings: tuple[Finding, ...] = ()
    landmarks: NDArray[np.float64] | None = None
    """`[L, 2]`; None for a face with errors."""
    image: SeenImage | None = None
    """None where it could not be decoded."""


def look_at(dataset: Dataset, face: int, ref: SampleRef, policy: ImagePolicy) -> Look:
    """Look at one face.

    Args:
        dataset: Where it is read from; from several threads at once.
        face: Its place in the index.
        ref: The face.
        policy: How sharding would store it.
    """
    check = "unreadable-face"
    image = None
    try:
        sample = dataset.read(ref)
        check = "image-refused"
        header = images.inspect(sample.image, ref.locator)
        check = "image-damaged"
        pixels = images.decode(sample.image, ref.locator)
        image = SeenImage(face, hashlib.sha256(sample.image).hexdigest(), signature(pixels))
        check = "face-refused"
        jpeg, _ = stored_face(sample, policy)
    except AnnotationError as error:
        return Look(findings=(_finding(face, ref, (check, str(error), 0.0, ())),), image=image)
    zeros = list(_zero_normalisers(sample, dataset.protocol))
    faults = [*zeros, *_file_faults(sample, header, jpeg), *_placement_faults(sample, header, dataset.protocol)]
    return Look(
        findings=tuple(_finding(face, ref, fault) for fault in faults),
        landmarks=None if zeros else sample.landmarks,
        image=image,
    )


def _finding(face: int, ref: SampleRef, fault: _Fault) -> Finding:
    check, sentence, score, points = fault
    return Finding(
        face=face, key=ref.key, locator=ref.locator, check=check, sentence=sentence, score=score, points=points
    )


def _normalisers(sample: FaceSample, protocol: LandmarkProtocol) -> dict[str, float]:
    return {
        name: float(normaliser_of(protocol, sample.landmarks[None], np.array([sample.box]), name))
        for name in protocol.normalisers
    }


def _zero_normalisers(sample: FaceSample, protocol: LandmarkProtocol) -> Iterator[_Fault]:
    for name, pixels in _normalisers(sample, protocol).items():
        if not pixels > 0:
            right, left = protocol.normalisers[name]
            sentence = f"normaliser {name!r} must be above 0 px, got {pixels:g}: errors are divided by it"
            yield "zero-normaliser", sentence, 0.0, (*right, *left)


def _file_faults(sample: FaceSample, header: images.ImageHeader, stored: bytes) -> Iterator[_Fault]:
    is_jpeg = header.kind != "PNG"
    if header.orientation > 1:
        sentence = f"EXIF orientation should be 1, is {header.orientation}; it is ignored, see that the landmarks fit"
        yield "exif-rotation", sentence, float(header.orientation), ()
    if is_jpeg and (header.progressive or header.kind == "MPO" or header.orientation == 0):
        what = "is progressive" if header.progressive else "has broken EXIF data" if header.kind == "JPEG" else "is MPO"
        yield "not-plain-jpeg", f"a plain JPEG keeps its bytes, this one {what} and is encoded again", 0.0, ()
    if is_jpeg and stored is not sample.image and not images.is_sound_jpeg(sample.image, header):
        yield "flawed-jpeg", "the decoder complains of the file, but finds all its rows; look at the picture", 0.0, ()


def _placement_faults(sample: FaceSample, header: images.ImageHeader, protocol: LandmarkProtocol) -> Iterator[_Fault]:
    yield from _outside(sample, header)
    yield from _off_box(sample)
    for name, pixels in list(_normalisers(sample, protocol).items())[:1]:
        if 0 < pixels < TINY_PX:
            sentence = f"normaliser {name!r} should be at least {TINY_PX:g} px, is {pixels:.1f}"
            yield "tiny-face", sentence, -pixels, ()


def _outside(sample: FaceSample, header: images.ImageHeader) -> Iterator[_Fault]:
    corner = np.array([header.width, header.height]) - 0.5
    beyond = np.maximum(-0.5 - sample.landmarks, sample.landmarks - corner).max(axis=1)
    x0, y0, x1, y1 = sample.box
    side = max(x1 - x0, y1 - y0, float(np.ptp(sample.landmarks, axis=0).max()))
    points = tuple(np.flatnonzero(beyond > OUTSIDE_SHARE * side).tolist())
    if points:
        share = float(beyond.max()) / side
        sentence = (
            f"landmarks lie at most {OUTSIDE_SHARE:g} of the face's side outside the image, {len(points)} lie up to "
            f"{share:.2f} outside ({beyond.max():.0f} px of {header.width} x {header.height})"
        )
        yield "landmarks-outside-image", sentence, share, points


def _off_box(sample: FaceSample) -> Iterator[_Fault]:
    low, high = np.reshape(sample.box, (2, 2))
    held = ((sample.landmarks >= low) & (sample.landmarks <= high)).all(axis=1)
    if held.mean() < HELD_SHARE:
        x0, y0, x1, y1 = np.round([*sample.landmarks.min(axis=0), *sample.landmarks.max(axis=0)], 1).tolist()
        sentence = (
            f"the face box should hold at least {HELD_SHARE:.0%} of the landmarks, it holds {held.mean():.0%}: box "
            f"{np.round(sample.box, 1).tolist()}, landmarks {[x0, y0, x1, y1]}"
        )
        yield "box-off-landmarks", sentence, float(1 - held.mean()), tuple(np.flatnonzero(~held).tolist())
