"""Finds what stands in more than one split: equal images, and groups. Several faces of a photo in one split are fine.

    row = signature(pixels)                      # [256]; row @ other is 1 for equal images
    findings = [*repeated_images(images, refs), *parted_groups(refs)]

A signature is the image in grey at 16 x 16, less its own blur, with length 1. Its product with that of the same image,
shrunk and encoded again, was never below 0.99 for 1,500 photos of faces, nor above 0.81 for the nearest of 30 million
pairs of different ones. (Difference hashes part them less well: where an image is flat, their bits are noise.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.samples import SampleRef
from adodn.validation.findings import Finding

EQUAL = 0.95
"""Product of signatures from which two images are taken for the same."""
_SIDE = 16
_SIGMA = 1.5
_FLAT = 8.0
"""Length before scaling, in grey levels, below which an image shows nothing to compare."""
_BLOCK = 512
_SPLITS = ("train", "val", "test")

Signatures = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class SeenImage:
    """What is kept of a face's image once it has been looked at."""

    face: int
    """Place in the index."""
    sha256: str
    signature: Signatures
    """`[256]`."""


def signature(pixels: NDArray[np.uint8]) -> Signatures:
    """`[256]`, of length 1, or 0 for an image that is flat.

    Args:
        pixels: `[H, W, 3]`, RGB.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = (small - cv2.GaussianBlur(small, (0, 0), _SIGMA)).ravel()
    length = float(np.linalg.norm(detail))
    return np.asarray(detail / length if length > _FLAT else 0 * detail, dtype=np.float32)


def repeated_images(images: Sequence[SeenImage], refs: Sequence[SampleRef]) -> Iterator[Finding]:
    """Faces whose image a later split has too, of train, val, test; the copy that is nearest a test set stays.

    Args:
        images: Of all faces that could be decoded.
        refs: The whole index.
    """
    for early, late in (("val", "test"), ("train", "test"), ("train", "val")):
        members = [[seen for seen in images if refs[seen.face].split == split] for split in (early, late)]
        yield from _pairs(members[0], members[1], refs)


def parted_groups(refs: Sequence[SampleRef]) -> Iterator[Finding]:
    """Faces of a group of which a later split has a face."""
    last: dict[str, int] = {}
    for face, ref in enumerate(refs):
        held = last.get(ref.group)
        if ref.group and ref.split in _SPLITS and (held is None or _rank(refs[held]) < _rank(ref)):
            last[ref.group] = face
    for face, ref in enumerate(refs):
        if ref.group in last and ref.split in _SPLITS and _rank(ref) < _rank(refs[last[ref.group]]):
            other = refs[last[ref.group]]
            sentence = (
                f"a group stays in one split, {ref.group!r} is in {ref.split} and, as {other.key!r}, in {other.split}"
            )
            yield _finding(face, last[ref.group], "group-across-splits", sentence, 1.0, refs)


def _pairs(early: Sequence[SeenImage], late: Sequence[SeenImage], refs: Sequence[SampleRef]) -> Iterator[Finding]:
    """One finding for each early image that is among the late ones."""
    if not early or not late:
        return
    equal_bytes = {seen.sha256: seen.face for seen in reversed(late)}
    there = np.stack([seen.signature for seen in late])
    for start in range(0, len(early), _BLOCK):
        block = early[start : start + _BLOCK]
        for seen, (place, product, turned) in zip(block, _nearest(block, there), strict=True):
            if seen.sha256 in equal_bytes:
                place, how, product = equal_bytes[seen.sha256], "the same file", 1.0
            elif product >= EQUAL:
                place, how = late[place].face, "the same picture mirrored" if turned else "the same picture"
            else:
                continue
            yield _finding(seen.face, place, "duplicate-across-splits", _said(how, product, place, refs), product, refs)


def _nearest(block: Sequence[SeenImage], there: Signatures) -> list[tuple[int, float, bool]]:
    """For each image of the block: the place of the nearest signature, their product, and whether it is mirrored."""
    here = np.stack([seen.signature for seen in block])
    turned = here.reshape(-1, _SIDE, _SIDE)[:, :, ::-1].reshape(here.shape)
    answers = []
    for rows in (here @ there.T, turned @ there.T):
        places = rows.argmax(axis=1)
        answers.append([(int(place), float(row[place])) for place, row in zip(places, rows, strict=True)])
    plain, mirror = answers
    return [(*(b if b[1] > a[1] else a), b[1] > a[1]) for a, b in zip(plain, mirror, strict=True)]


def _said(how: str, product: float, place: int, refs: Sequence[SampleRef]) -> str:
    ref = refs[place]
    return f"an image stays in one split, {ref.split} has {how} as {ref.key!r} ({product:.3f}, equal from {EQUAL:g} on)"


def _finding(face: int, other: int, check: str, sentence: str, score: float, refs: Sequence[SampleRef]) -> Finding:
    ref = refs[face]
    return Finding(
        face=face, key=ref.key, locator=ref.locator, check=check, sentence=sentence, score=score, other=other
    )


def _rank(ref: SampleRef) -> int:
    return _SPLITS.index(ref.split)
