"""The quick ways of looking at a JPEG and of writing a tar against the slow ones: Pillow, a full decode, tarfile."""

import io
import tarfile
import warnings
from random import Random

import numpy as np
import simplejpeg
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from adodn.data import images
from adodn.data.tarballs import build_tar, member_bytes
from adodn.errors import AnnotationError

_NOISE = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)


def jpeg(mode: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_NOISE).resize((43, 35)).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


JPEGS = [
    *(jpeg("RGB", subsampling=sampling, quality=quality) for sampling in (0, 1, 2) for quality in (30, 95)),
    jpeg("L"),
    jpeg("CMYK"),
    jpeg("RGB", progressive=True),
    jpeg("RGB", exif=rotated()),
    jpeg("RGB", comment=b"by hand", dpi=(72, 72)),
    jpeg("RGB", restart_marker_blocks=2, optimize=True),
    jpeg("RGB", icc_profile=b"profile" * 20),
]
SEGMENTS = [b"\xff" + bytes([marker]) for marker in (0xC0, 0xC2, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A JPEG after up to four accidents, most of them in its header."""
    data = bytearray(draw(st.sampled_from(JPEGS)))
    for _ in range(draw(st.integers(0, 4))):
        scan = data.find(b"\xff\xda") + 14
        place = draw(st.integers(2, max(2, len(data) - 1)) | st.integers(2, max(2, scan)))
        accident = draw(st.sampled_from(["set", "flip", "delete", "insert", "cut", "segment"]))
        if accident == "set":
            data[place : place + 1] = bytes([draw(st.sampled_from([0, 0xFF]) | st.integers(0, 255))])
        elif accident == "flip" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif accident == "delete":
            del data[place : place + draw(st.integers(1, 20))]
        elif accident == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=5))
        elif accident == "cut":
            del data[place:]
        else:
            body = draw(st.binary(max_size=30))
            data[2:2] = draw(st.sampled_from(SEGMENTS)) + (len(body) + 2).to_bytes(2, "big") + body
    return bytes(data)


def seen_by_pillow(data: bytes) -> tuple[int, int, bool] | None:
    """Width, height, and whether every reader sees the same upright pixels; None for what is refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
            try:
                turned = image.getexif().get(0x0112) not in (None, 1)
            except (OSError, ValueError, SyntaxError, KeyError, TypeError):
                turned = True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if image.mode not in ("RGB", "L") or image.width * image.height > images.MAX_PIXELS:
        return None
    return image.width, image.height, image.format == "JPEG" and not image.info.get("progressive") and not turned


@given(damaged())
@settings(deadline=None, max_examples=600)
def test_headers_are_judged_as_pillow_judges_them(data: bytes) -> None:
    """Whatever happened to a JPEG, it is accepted or refused, and measured, as Pillow does it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = images.inspect(data, "a")
        except AnnotationError:
            found = None
        else:
            found = header.width, header.height, header.plain_jpeg
            event("quick" if header.simple_jpeg else "by Pillow")
    assert found == seen_by_pillow(data)


@given(damaged())
@settings(deadline=None, max_examples=600)
def test_a_jpeg_is_sound_when_its_full_decode_has_no_warning(data: bytes) -> None:
    """The quick check and the full strict decode are of one mind on every damaged file whose header is accepted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = images.inspect(data, "a")
        except AnnotationError:
            return
    try:
        simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
        whole = True
    except ValueError:
        whole = False
    event(f"{'quick' if header.simple_jpeg else 'full'}, {whole}")
    assert images.is_sound_jpeg(data, header) == whole


names = st.text("abcXYZ019_-.", min_size=1, max_size=100)


@given(st.lists(st.tuples(names, st.integers(0, 3000)), max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_tar_is_that_of_tarfile(members: list[tuple[str, int]], random: Random) -> None:
    """For any names and sizes the bytes are those that Python's own tarfile writes for a plain file."""
    contents = [(name, random.randbytes(size)) for name, size in members]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in contents:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    made = build_tar(contents)
    assert made == buffer.getvalue()
    assert 1024 <= len(made) - sum(member_bytes(len(content)) for _, content in contents) < 1024 + 10_240
