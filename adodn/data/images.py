"""Reads and writes encoded images from strangers, with the checks first. It does not crop or resize.

    header = images.inspect(data, where)      # parses the header alone; refuses what we could not decode
    pixels = images.decode(data, where)       # [H, W, 3], uint8 RGB
    data = images.encode(pixels, quality=95)  # JPEG, 4:4:4

EXIF orientation is ignored: landmark datasets are annotated on the pixels as they are stored, so turning the image
would part it from its landmarks.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from adodn.errors import AnnotationError

MAX_PIXELS = 64_000_000
"""More is taken for a decompression bomb; 64 megapixels are 192 MB decoded."""
_COLOURS = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "RGBA", "L", "LA", "P", "1")}
_EXIF_ORIENTATION = 0x0112
_PNG_BIT_DEPTH = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """What the header of an image says."""

    width: int
    height: int
    kind: str
    """`JPEG`, `PNG`, or `MPO`: a JPEG with further pictures behind the first."""
    progressive: bool
    orientation: int
    """Of EXIF: 1 is upright, also where nothing is said; 0 where it cannot be read."""

    @property
    def plain_jpeg(self) -> bool:
        """Baseline JPEG without an EXIF rotation: every reader sees the same pixels in it, fast."""
        return self.kind == "JPEG" and not self.progressive and self.orientation == 1


def inspect(data: bytes, where: str) -> ImageHeader:
    """Check an image's header without decoding it.

    Args:
        data: The encoded file.
        where: Its path or key, for messages.

    Raises:
        AnnotationError: If it is neither JPEG nor PNG, is not 8-bit RGB or grey, or is larger than `MAX_PIXELS`.
    """
    image = _open(data, where)
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if image.width * image.height > MAX_PIXELS:
        raise AnnotationError(f"{where}: an image has at most {MAX_PIXELS} pixels, got {image.width} x {image.height}")
    if image.mode not in _COLOURS[kind] or (kind == "PNG" and data[_PNG_BIT_DEPTH] > 8):
        raise AnnotationError(f"{where}: images are 8-bit RGB or grey, got {kind} {image.mode!r}; convert it first")
    return ImageHeader(
        width=image.width,
        height=image.height,
        kind=str(image.format),
        progressive=bool(image.info.get("progressive")),
        orientation=_orientation(image),
    )


def decode(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decode an image that `inspect` accepts.

    Grey becomes RGB, transparency is dropped, EXIF orientation is ignored.

    Returns:
        `[H, W, 3]`, uint8 RGB.

    Raises:
        AnnotationError: If `inspect` refuses it, or its data is damaged.
    """
    inspect(data, where)
    pixels = _decode_strictly(data)
    if pixels is not None:
        return pixels
    try:
        return np.asarray(_open(data, where).convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise AnnotationError(f"{where}: the image is damaged: {error}") from None


def is_sound_jpeg(data: bytes) -> bool:
    """Whether the JPEG decodes without a single warning, so that its bytes can be handed on as they are."""
    return _decode_strictly(data) is not None


def encode(pixels: NDArray[np.uint8], *, quality: int) -> bytes:
    """Encode `[H, W, 3]` uint8 RGB as baseline JPEG without colour subsampling."""
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorspace="RGB", colorsubsampling="444", fastdct=False
    )
    return jpeg


def _decode_strictly(data: bytes) -> NDArray[np.uint8] | None:
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    except ValueError:
        return None
    return pixels


def _open(data: bytes, where: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except Image.DecompressionBombError:
        raise AnnotationError(f"{where}: an image has at most {MAX_PIXELS} pixels, this one has far more") from None
    except (OSError, ValueError, SyntaxError):
        raise AnnotationError(f"{where}: neither a JPEG nor a PNG image, begins with {data[:8]!r}") from None


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        return 0
    return 1 if value is None else value if isinstance(value, int) else 0
