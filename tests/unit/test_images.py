"""Images from strangers: what is decoded, and what is refused with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adodn.data import images
from adodn.errors import AnnotationError

GRADIENT = np.stack(np.broadcast_arrays(*np.ogrid[:40:1, 60:120:1], 7), axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(GRADIENT), "JPEG", quality=100, subsampling=0, exif=exif)


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    """A PNG that claims a size and holds one row of nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png_of_any_8_bit_kind_becomes_rgb(mode: str) -> None:
    """PNG decodes to what Pillow makes RGB of it."""
    image = Image.fromarray(GRADIENT).convert(mode)
    np.testing.assert_array_equal(images.decode(encoded(image, "PNG"), "a"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_is_decoded_closely(options: dict[str, object]) -> None:
    """A JPEG of best quality differs from its original by rounding only."""
    data = encoded(Image.fromarray(GRADIENT), "JPEG", quality=100, subsampling=0, **options)
    assert images.inspect(data, "a").plain_jpeg == (not options)
    assert np.abs(images.decode(data, "a").astype(int) - GRADIENT).max() <= 3


def test_grey_jpeg_is_plain() -> None:
    """Grey JPEG passes as it is, and decodes to three equal channels."""
    data = encoded(Image.fromarray(GRADIENT).convert("L"), "JPEG")
    assert images.inspect(data, "a").plain_jpeg
    pixels = images.decode(data, "a")
    assert (pixels == pixels[..., :1]).all()


def test_exif_rotation_is_ignored_and_not_plain() -> None:
    """A rotation flag turns no pixel, and its bytes are not handed on to readers that would obey it."""
    header = images.inspect(rotated_jpeg(), "a")
    assert (header.width, header.height, header.plain_jpeg) == (60, 40, False)
    assert np.abs(images.decode(rotated_jpeg(), "a").astype(int) - GRADIENT).max() <= 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither a JPEG nor a PNG"),
        (b"<html>not found</html>", "neither a JPEG nor a PNG, begins with b'<html>no'"),
        (encoded(Image.fromarray(GRADIENT), "GIF"), "neither a JPEG nor a PNG"),
        (encoded(Image.fromarray(GRADIENT).convert("CMYK"), "JPEG"), "8-bit RGB or grey, got JPEG 'CMYK'"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG"), "8-bit RGB or grey, got PNG 'I;16'"),
        (png_header(4, 4, depth=16), "8-bit RGB or grey"),
        (png_header(10_000, 10_000), "at most 64000000 pixels, got 10000 x 10000"),
        (png_header(100_000, 100_000), "at most 64000000 pixels"),
        (png_header(100, 100), "damaged"),
        (encoded(Image.fromarray(GRADIENT), "JPEG")[:700], "damaged"),
    ],
    ids=["empty", "html", "gif", "cmyk", "grey16", "rgb16", "bomb", "huge bomb", "short png", "cut jpeg"],
)
def test_what_cannot_be_decoded_is_refused(data: bytes, reason: str) -> None:
    """Each refusal names the file and the reason."""
    with pytest.raises(AnnotationError) as error:
        images.decode(data, "some/face.jpg")
    assert str(error.value).startswith("some/face.jpg: ")
    assert reason in str(error.value)


def test_encoding_keeps_colour_at_full_resolution() -> None:
    """4:4:4: thin red and blue stripes survive, which 4:2:0 would mix."""
    stripes: NDArray[np.uint8] = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 255
    stripes[:, 1::2, 2] = 255
    back = images.decode(images.encode(stripes, quality=95), "a")
    assert np.abs(back.astype(int) - stripes).max() < 40
