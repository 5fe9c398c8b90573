"""Contact sheets of the worst faces of a check: crop, landmarks, flagged points in red, the key below.

jpeg = sheet(dataset, report.of("landmark-outlier")[:24], refs)     # RGB as a JPEG
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.data import images
from adodn.errors import AnnotationError
from adodn.samples import Dataset, FaceSample, SampleRef
from adodn.validation.findings import Finding

TILE_PX, CAPTION_PX, COLUMNS = 200, 34, 6
FACES = 24
_MARGIN, _MOST_SIDES = 1.3, 3.0
"""Side of a tile over that of box and landmarks together; and over that of the box alone at most."""
_GREY, _GREEN, _RED, _INK = (128, 128, 128), (0, 230, 0), (255, 0, 0), (0, 0, 0)
_FONT, _FONT_SCALE, _CHARACTERS = cv2.FONT_HERSHEY_SIMPLEX, 0.38, 30

Pixels = NDArray[np.uint8]


def sheet(dataset: Dataset, findings: Sequence[Finding], refs: Sequence[SampleRef]) -> Pixels:
    """A sheet of the faces that findings are about, and behind each the one it collides with, if there is one.

    Args:
        dataset: Where faces are read from once more.
        findings: At most `FACES` are shown, in their order.
        refs: The whole index.

    Returns:
        `[H, W, 3]`, RGB.
    """
    tiles = []
    for finding in findings[:FACES]:
        tiles.append(_tile(dataset, refs[finding.face], finding, ""))
        if finding.other is not None:
            tiles.append(_tile(dataset, refs[finding.other], None, "= "))
    blank = np.full((TILE_PX + CAPTION_PX, TILE_PX, 3), 255, dtype=np.uint8)
    tiles += [blank] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[start : start + COLUMNS], axis=1) for start in range(0, len(tiles), COLUMNS)]
    return np.concatenate(rows)


def _tile(dataset: Dataset, ref: SampleRef, finding: Finding | None, mark: str) -> Pixels:
    try:
        sample = dataset.read(ref)
        pixels = images.decode(sample.image, ref.locator)
        face = _drawn(sample, pixels, finding.points if finding else ())
    except AnnotationError as error:
        face = _reason(str(error))
    return np.concatenate([face, _caption(f"{mark}{ref.key}", f"{ref.split} {ref.locator}")])


def _drawn(sample: FaceSample, pixels: Pixels, flagged: Sequence[int]) -> Pixels:
    corners = np.concatenate([np.reshape(sample.box, (2, 2)), sample.landmarks])
    corners = corners[np.isfinite(corners).all(axis=1) & (np.abs(corners) < images.MAX_PIXELS).all(axis=1)]
    if not len(corners):
        return _reason("no finite landmarks")
    zoom, shift = _view(corners, len(sample.landmarks))
    warp = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    tile = cv2.warpAffine(pixels, warp, (TILE_PX, TILE_PX), flags=cv2.INTER_AREA, borderValue=_GREY)
    for point, (x, y) in enumerate(sample.landmarks * zoom + shift):
        if np.isfinite([x, y]).all() and max(abs(x), abs(y)) < 2 * TILE_PX:
            is_flagged = point in flagged
            centre = (round(float(x)), round(float(y)))
            cv2.circle(tile, centre, 3 if is_flagged else 1, _RED if is_flagged else _GREEN, -1, cv2.LINE_AA)
    return np.asarray(tile, dtype=np.uint8)


def _view(corners: NDArray[np.float64], num_landmarks: int) -> tuple[float, NDArray[np.float64]]:
    """Zoom and shift from image to tile: all corners, but no more than some times what half the landmarks need."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    inner = np.quantile(corners[-num_landmarks:], [0.25, 0.75], axis=0)
    most = _MOST_SIDES * 2 * float(np.ptp(inner, axis=0).max())
    side = max(float((high - low).max()), 1.0)
    centre = (low + high) / 2
    if 0 < most < side:
        side, centre = most, inner.mean(axis=0)
    zoom = TILE_PX / (_MARGIN * side)
    return zoom, TILE_PX / 2 - 0.5 - zoom * centre


def _reason(text: str) -> Pixels:
    """A grey tile that says why there is no face."""
    tile = np.full((TILE_PX, TILE_PX, 3), _GREY, dtype=np.uint8)
    words = _ascii(text)
    for line in range(min(10, -(-len(words) // _CHARACTERS))):
        part = words[line * _CHARACTERS : (line + 1) * _CHARACTERS]
        cv2.putText(tile, part, (4, 20 + 17 * line), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    return tile


def _caption(*lines: str) -> Pixels:
    strip = np.full((CAPTION_PX, TILE_PX, 3), 255, dtype=np.uint8)
    for number, line in enumerate(lines):
        text = _ascii(line)
        shown = text if len(text) <= _CHARACTERS else ".." + text[2 - _CHARACTERS :]
        cv2.putText(strip, shown, (3, 13 + 15 * number), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    return strip


def _ascii(text: str) -> str:
    """OpenCV's font has no other characters."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
