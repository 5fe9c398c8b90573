"""Cuts the stored image of a face out of its original. It augments nothing; that is the loader's work.

    storing = examine(sample, ImagePolicy())        # all that could go wrong goes wrong here
    jpeg, record = stored_face(sample, ImagePolicy())

The rule, in full:

* A plain baseline JPEG (8-bit RGB or grey, no EXIF rotation, no decoding warning) whose larger side is at most
  `SLACK` x `max_px` keeps its bytes; the stored image is the whole original. Encoding again would cost time and quality
  to save at most a third of the bytes.
* Any other image is cut to the square around the face box, `margin` times its larger side, as far as the square lies
  within the image: no pixel is invented. If that is larger than `max_px` it is shrunk, by the same factor in x and y.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adodn.data import images
from adodn.data.manifest import FaceRecord, ImagePolicy
from adodn.errors import AnnotationError
from adodn.samples import Box, FaceSample

SLACK = 1.25


_BYTES_PER_PIXEL = 0.6
"""What a stored pixel takes about, at quality 95 without colour subsampling."""


@dataclass(frozen=True, slots=True)
class Storing:
    """How a face's image will be stored."""

    keeps_bytes: bool
    """As it is; else it is cut, shrunk and encoded again."""
    image_bytes: int
    """Size of the stored image; estimated where it is encoded again."""


@dataclass(frozen=True, slots=True)
class _Stored:
    jpeg: bytes
    scale: float
    x: int
    y: int


def examine(sample: FaceSample, policy: ImagePolicy) -> Storing:
    """Check all that could stand against storing a face, its pixels included, and say how it will be stored.

    Raises:
        AnnotationError: If the image cannot be decoded, or the face lies outside it.
    """
    where = sample.ref.locator
    if not np.isfinite(sample.landmarks).all() or not np.isfinite(sample.box).all():
        raise AnnotationError(f"{where}: landmarks and box must be finite numbers")
    header = images.inspect(sample.image, where)
    x0, y0, x1, y1 = _place(sample, policy, header.width, header.height)
    is_sound = images.is_sound_jpeg(sample.image, header)
    if is_sound and header.plain_jpeg and max(header.width, header.height) <= SLACK * policy.max_px:
        return Storing(True, len(sample.image))
    if not is_sound:
        images.decode(sample.image, where)
    shrink = min(1.0, policy.max_px / max(x1 - x0, y1 - y0))
    return Storing(False, round((x1 - x0) * (y1 - y0) * shrink**2 * _BYTES_PER_PIXEL))


def stored_face(
    sample: FaceSample, policy: ImagePolicy, *, keeps_bytes: bool | None = None
) -> tuple[bytes, FaceRecord]:
    """The JPEG and the record that a shard holds for a face.

    Args:
        sample: The face.
        policy: How images are stored.
        keeps_bytes: What `examine` said of these very bytes, which are then not decoded only to be checked again.

    Raises:
        AnnotationError: If the image cannot be decoded, or the face lies outside it.
    """
    keeps = examine(sample, policy).keeps_bytes if keeps_bytes is None else keeps_bytes
    stored = _Stored(sample.image, 1.0, 0, 0) if keeps else _encoded(sample, policy)
    offset = np.array([stored.x, stored.y], dtype=np.float64)
    moved = (sample.landmarks + 0.5 - offset) / stored.scale - 0.5
    corners = (np.reshape(sample.box, (2, 2)) + 0.5 - offset) / stored.scale - 0.5
    (x0, y0), (x1, y1) = corners.tolist()
    record = FaceRecord(
        key=sample.ref.key,
        landmarks=tuple((x, y) for x, y in moved.tolist()),
        visible=tuple(sample.visible.tolist()),
        box=(x0, y0, x1, y1),
        stored_to_image=(stored.scale, float(stored.x), float(stored.y)),
        subsets=sample.ref.subsets,
        group=sample.ref.group,
        image_sha256=hashlib.sha256(sample.image).hexdigest(),
        attributes=sample.attributes,
    )
    return stored.jpeg, record


def _encoded(sample: FaceSample, policy: ImagePolicy) -> _Stored:
    pixels = images.decode(sample.image, sample.ref.locator)
    x0, y0, x1, y1 = _place(sample, policy, width=pixels.shape[1], height=pixels.shape[0])
    shrunk, scale = _shrink(pixels[y0:y1, x0:x1], policy.max_px)
    return _Stored(images.encode(shrunk, quality=policy.jpeg_quality), scale, x0, y0)


def _place(sample: FaceSample, policy: ImagePolicy, width: int, height: int) -> tuple[int, int, int, int]:
    """The window of a face that has one."""
    box = _policy_box(sample, policy)
    x0, y0, x1, y1 = _window(box, policy.margin, width, height)
    if x0 >= x1 or y0 >= y1 or max(box[2] - box[0], box[3] - box[1]) <= 0:
        raise AnnotationError(
            f"{sample.ref.locator}: a face has an extent and lies in its image of {width} x {height}, got box {box}"
        )
    return x0, y0, x1, y1


def _policy_box(sample: FaceSample, policy: ImagePolicy) -> Box:
    if policy.box == "dataset":
        return sample.box
    (x0, y0), (x1, y1) = sample.landmarks.min(axis=0).tolist(), sample.landmarks.max(axis=0).tolist()
    return x0, y0, x1, y1


def _window(box: Box, margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The square around a box, clamped to the image: first and one-past-last pixel in x and y."""
    x0, y0, x1, y1 = box
    reach = max(x1 - x0, y1 - y0) * margin / 2
    centre_x, centre_y = (x0 + x1 + 1) / 2, (y0 + y1 + 1) / 2
    return (
        max(0, math.floor(centre_x - reach)),
        max(0, math.floor(centre_y - reach)),
        min(width, math.ceil(centre_x + reach)),
        min(height, math.ceil(centre_y + reach)),
    )


def _shrink(pixels: NDArray[np.uint8], max_px: int) -> tuple[NDArray[np.uint8], float]:
    """Shrink to at most `max_px` a side; answers the factor from stored to original pixels.

    OpenCV rounds both sides to whole pixels and so scales x and y by slightly different factors. Pillow takes a source
    region of fractional size: the shorter side gives up less than one stored pixel, and the factor is exact.
    """
    height, width = pixels.shape[:2]
    longest = max(width, height)
    if longest <= max_px:
        return pixels, 1.0
    scale = longest / max_px
    size = (max(1, width * max_px // longest), max(1, height * max_px // longest))
    region = (0.0, 0.0, min(size[0] * scale, width), min(size[1] * scale, height))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.HAMMING, box=region)), scale
