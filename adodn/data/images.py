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
_SOI, _SOF0, _SOS, _DQT, _APP0 = b"\xff\xd8", 0xC0, 0xDA, 0xDB, 0xE0
_SIMPLE = frozenset({_SOF0, 0xC4, _SOS, _DQT, 0xDD, _APP0, 0xFE})
"""Markers of a JPEG that needs no second look: frame, tables, scan, restarts, JFIF, comment."""
_SAMPLINGS = frozenset(
    {b"\x01\x11", *(b"\x01" + luma + b"\x02\x11\x03\x11" for luma in (b"\x11", b"\x21", b"\x12", b"\x22"))}
)
"""Number and sampling of each component: grey, 4:4:4, 4:2:2, 4:4:0, 4:2:0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """What the header of an image says."""

    width: int
    height: int
    kind: str
    """`JPEG`, `PNG`, or `MPO`: a JPEG with further pictures behind the first."""
    simple_jpeg: bool
    """Of the usual make: what an image needs to be checked in the quick way."""
    progressive: bool
    orientation: int
    """Of EXIF: 1 is upright, also where nothing is said; 0 where it cannot be read."""

    @property
    def plain_jpeg(self) -> bool:
        """Baseline JPEG without an EXIF rotation: every reader sees the same pixels in it, fast."""
        return self.kind == "JPEG" and not self.progressive and self.orientation == 1

    @property
    def is_jpeg(self) -> bool:
        """Whether it is a JPEG of any make."""
        return self.kind in ("JPEG", "MPO")


def inspect(data: bytes, where: str) -> ImageHeader:
    """Check an image's header without decoding it.

    Args:
        data: The encoded file.
        where: Its path or key, for messages.

    Raises:
        AnnotationError: If it is neither JPEG nor PNG, is not 8-bit RGB or grey, or is larger than `MAX_PIXELS`.
    """
    simple = _simple_header(data)
    if simple is not None and simple.width * simple.height <= MAX_PIXELS:
        return simple
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
        simple_jpeg=False,
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


def is_sound_jpeg(data: bytes, header: ImageHeader) -> bool:
    """Whether a JPEG decodes without a single warning, so that its bytes can be handed on as they are.

    Warnings come from the entropy-coded data, which is read to its end whatever is made of it; so a simple JPEG is
    decoded to an eighth of its size in grey, in half the time.

    Args:
        data: The encoded file.
        header: What `inspect` says of it.
    """
    if not header.simple_jpeg:
        return header.is_jpeg and _decode_strictly(data) is not None
    try:
        simplejpeg.decode_jpeg(data, colorspace="GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError:
        return False
    return True


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


def _simple_header(data: bytes) -> ImageHeader | None:
    """The header of a JPEG of the usual make, in a tenth of Pillow's time; None for any other, which Pillow judges.

    Simple is: whole segments without gaps up to the scan; one baseline frame of 8 bits, grey or YCbCr in a usual
    sampling; 8-bit quantisation tables; no application segment but JFIF's, so neither rotation nor several pictures.
    """
    found, place = None, len(_SOI)
    while data.startswith(b"\xff", place) and data.startswith(_SOI):
        marker, end = data[place + 1 : place + 2], place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : end]
        if not marker or marker[0] not in _SIMPLE or end > len(data) or end < place + 4:
            return None
        if marker[0] == _SOS:
            return found
        if marker[0] == _SOF0:
            found = _simple_frame(body) if found is None else None
        if (marker[0] == _SOF0 and found is None) or not _is_simple(marker[0], body):
            return None
        place = end
    return None


def _simple_frame(body: bytes) -> ImageHeader | None:
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    layers = body[6:]
    sampling = b"".join(layers[i : i + 2] for i in range(0, len(layers), 3))
    whole = len(layers) == 3 * body[5] if len(body) > 6 else False
    if not whole or body[0] != 8 or not width * height or sampling not in _SAMPLINGS:
        return None
    return ImageHeader(width=width, height=height, kind="JPEG", simple_jpeg=True, progressive=False, orientation=1)


def _is_simple(marker: int, body: bytes) -> bool:
    if marker == _APP0:
        return len(body) >= 14
    return marker != _DQT or (len(body) % 65 == 0 and all(table < 16 for table in body[::65]))


def _open(data: bytes, where: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except Image.DecompressionBombError:
        raise AnnotationError(f"{where}: an image has at most {MAX_PIXELS} pixels, this one has far more") from None
    except (OSError, ValueError, SyntaxError):
        raise AnnotationError(f"{where}: its image is neither a JPEG nor a PNG, begins with {data[:8]!r}") from None


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        return 0
    return 1 if value is None else value if isinstance(value, int) else 0
