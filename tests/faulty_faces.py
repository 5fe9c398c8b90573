"""Rendered faces in 300W's layout, and the faults that validation must find in them: for tests of validation."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adodn import protocols
from adodn.datasets.synthetic import SyntheticDataset

FLIP = list(protocols.get("68").flip)
TRAIN, TEST = "helen/trainset", "helen/testset"


@dataclass(frozen=True, slots=True)
class Face:
    """Pixels and landmarks, from 0."""

    image: Image.Image
    landmarks: NDArray[np.float64]


def rendered(count: int, seed: int = 5) -> list[Face]:
    dataset = SyntheticDataset(seed=seed, num_train=count, num_val=0, num_common=0, num_challenging=0)
    return [Face(Image.open(io.BytesIO(sample.image)), sample.landmarks) for sample in dataset]


def write(root: Path, part: str, stem: str, data: bytes | Image.Image, landmarks: NDArray[np.float64]) -> str:
    """Write an image and its `.pts`; answers the face's key."""
    folder = root / part
    folder.mkdir(parents=True, exist_ok=True)
    raw = data if isinstance(data, bytes) else encoded(data)
    (folder / stem).with_suffix(".png" if raw.startswith(b"\x89PNG") else ".jpg").write_bytes(raw)
    lines = [f"{x:.6f} {y:.6f}" for x, y in (landmarks + 1).tolist()]
    text = "\n".join(["version: 1", f"n_points: {len(landmarks)}", "{", *lines, "}"])
    (folder / f"{stem}.pts").write_text(text)
    return f"{part.replace('/', '_')}_{stem}"


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


def rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, exif=exif)


def ended_early(image: Image.Image) -> bytes:
    """A JPEG with a mark of its end in the middle: decoders complain, and make the rest up."""
    data = bytearray(encoded(image))
    middle = len(data) // 2
    data[middle : middle + 2] = b"\xff\xd9"
    return bytes(data)


def bomb() -> bytes:
    """A PNG that claims 10,000 x 10,000 pixels."""
    head = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def mirror(face: Face) -> Face:
    """The mirrored image with its landmarks as they should be."""
    width = face.image.width
    landmarks = (np.array([width - 1.0, 0.0]) + np.array([-1.0, 1.0]) * face.landmarks)[FLIP]
    return Face(face.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), landmarks)


def shrunk(face: Face, factor: int) -> Face:
    size = (face.image.width // factor, face.image.height // factor)
    return Face(face.image.resize(size, Image.Resampling.BOX), (face.landmarks + 0.5) / factor - 0.5)


def with_point_moved(landmarks: NDArray[np.float64], point: int, share: float) -> NDArray[np.float64]:
    """One point moved to the right by a share of the face's larger side."""
    moved = landmarks.copy()
    moved[point, 0] += share * np.ptp(landmarks, axis=0).max()
    return moved


def plant(root: Path, clean: int = 70) -> dict[str, str]:
    """Write clean faces and one face for each fault; answers key → the check that must find it, and nothing else."""
    faces = rendered(clean + 24)
    for number in range(clean):
        write(root, TEST if number % 5 == 0 else TRAIN, f"clean{number}", faces[number].image, faces[number].landmarks)
    spare = iter(faces[clean:])
    return {**_bad_files(root, spare), **_bad_points(root, spare), **_warned_files(root, spare), **_copies(root, faces)}


def _bad_files(root: Path, spare: Iterator[Face]) -> dict[str, str]:
    faults: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
        "cmyk": ("image-refused", lambda image: encoded(image.convert("CMYK"))),
        "deep": (
            "image-refused",
            lambda image: encoded(Image.fromarray(np.asarray(image)[..., 0] * np.uint16(256)), "PNG"),
        ),
        "bomb": ("image-refused", lambda image: bomb()),
        "text": ("image-refused", lambda image: b"<html>not found</html>"),
        "cut": ("image-damaged", lambda image: encoded(image)[:1500]),
    }
    found = {}
    for stem, (check, change) in faults.items():
        face = next(spare)
        found[write(root, TRAIN, stem, change(face.image), face.landmarks)] = check
    return found


def _bad_points(root: Path, spare: Iterator[Face]) -> dict[str, str]:
    rng = np.random.default_rng(3)
    faults: dict[str, tuple[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
        "few": ("unreadable-face", lambda x: x[:67]),
        "nan": ("unreadable-face", lambda x: np.where(np.arange(68)[:, None] == 9, np.nan, x)),
        "away": ("face-refused", lambda x: x + 5000),
        "point": ("face-refused", lambda x: 0 * x + 50),
        "eyes": ("zero-normaliser", lambda x: np.where(np.arange(68)[:, None] == 45, x[36], x)),
        "swapped": ("mirrored-landmarks", lambda x: x[FLIP]),
        "moved": ("landmark-outlier", lambda x: with_point_moved(x, 33, 0.3)),
        "mixed": ("implausible-shape", lambda x: rng.permutation(x)),
    }
    found = {}
    for stem, (check, change) in faults.items():
        face = next(spare)
        found[write(root, TRAIN, stem, face.image, change(face.landmarks))] = check
    return found


def _warned_files(root: Path, spare: Iterator[Face]) -> dict[str, str]:
    turned, progressive, damaged, small, cropped = (next(spare) for _ in range(5))
    tiny = shrunk(small, 5)
    bottom = int(np.quantile(cropped.landmarks[:, 1], 0.6))
    top = cropped.image.crop((0, 0, cropped.image.width, bottom))
    return {
        write(root, TRAIN, "turned", rotated(turned.image), turned.landmarks): "exif-rotation",
        write(
            root, TRAIN, "scans", encoded(progressive.image, progressive=True), progressive.landmarks
        ): "not-plain-jpeg",
        write(root, TRAIN, "early", ended_early(damaged.image), damaged.landmarks): "flawed-jpeg",
        write(root, TRAIN, "tiny", tiny.image, tiny.landmarks): "tiny-face",
        write(root, TRAIN, "cropped", top, cropped.landmarks): "landmarks-outside-image",
    }


def _copies(root: Path, faces: list[Face]) -> dict[str, str]:
    """Test faces whose image a train face, which is the one to be reported, has already."""
    same, again, turned = faces[1], faces[2], mirror(faces[3])
    write(root, TEST, "same", same.image, same.landmarks)
    write(root, TEST, "again", encoded(again.image, quality=35), again.landmarks)
    write(root, TEST, "mirror", encoded(turned.image, quality=70), turned.landmarks)
    return {f"helen_trainset_clean{number}": "duplicate-across-splits" for number in (1, 2, 3)}
