"""From a stored face to the model's square: one composed affine, one warp, light and colour. Reads no files.

All maps are affines `[2, 3]`, float64. The central one takes fractions of the crop to pixels of the stored image; the
image is warped by it, the landmarks by its inverse, so that they cannot part.

    chosen = draw_augmentation(config, sample_draws(seed, epoch, index))
    affine = crop_affine(box, crop_scale=1.3, augmentation=chosen)
    warp(image, affine, out)
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.config import AugmentConfig
from adodn.occlusion.occluder import Occlusion, draw_occlusion
from adodn.samples import Box

Affine: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]

NUM_DRAWS = 48
"""Random numbers that one face takes: 8 for crop and colours, the others for what covers it."""
# ITU-R BT.601, as JPEG has it.
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What is done to one face. The defaults do nothing.

    Rotation, scale and shift act on the crop in this order, about its centre; the flip comes last.
    """

    rotation: float = 0.0
    """Radians, from x to y: clockwise as seen."""
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    """In x and y, as fractions of the crop's side."""
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    occlusion: Occlusion | None = None


def sample_draws(seed: int, epoch: int, index: int) -> list[float]:
    """The random numbers of one face in one epoch, from 0 to below 1: the same whoever prepares it, in whatever order.

    Made from the bit generator's raw words, because NumPy promises those for ever, and no more than those.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    # The index is the counter's highest word, so that the streams of two faces never meet.
    counter = np.array([0, 0, 0, index], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(NUM_DRAWS)
    draws: list[float] = ((words >> np.uint64(11)) * 2.0**-53).tolist()
    return draws


def draw_augmentation(config: AugmentConfig, draws: list[float]) -> Augmentation:
    """What is done to one face.

    Each setting has its own numbers among the draws, so that changing one never changes what another does.

    Args:
        config: Ranges.
        draws: `NUM_DRAWS` numbers from 0 to below 1.
    """
    rotation, scale, shift_x, shift_y, brightness, contrast, saturation = (2 * draw - 1 for draw in draws[:7])
    return Augmentation(
        rotation=math.radians(config.rotation_deg) * rotation,
        scale=1 + config.scale * scale,
        shift=(config.translation * shift_x, config.translation * shift_y),
        flip=draws[7] < config.flip_probability,
        brightness=1 + config.brightness * brightness,
        contrast=1 + config.contrast * contrast,
        saturation=1 + config.saturation * saturation,
        occlusion=draw_occlusion(config, draws[8:]),
    )


def crop_affine(box: Box, *, crop_scale: float, augmentation: Augmentation) -> Affine:
    """`[2, 3]`: fractions of the augmented crop to pixels of the stored image.

    Forward, a point at u from the crop's centre goes to F(s·R·u + t); this is the way back.

    Args:
        box: Face box, pixels of the stored image.
        crop_scale: Side of the crop, as a multiple of the box's larger side.
        augmentation: What is done to the face.
    """
    x0, y0, x1, y1 = box
    side = crop_scale * max(x1 - x0, y1 - y0)
    zoom = side / augmentation.scale
    cos, sin = zoom * math.cos(augmentation.rotation), zoom * math.sin(augmentation.rotation)
    shift_x, shift_y = augmentation.shift
    centre_x = (x0 + x1) / 2 - cos * shift_x - sin * shift_y
    centre_y = (y0 + y1) / 2 + sin * shift_x - cos * shift_y
    mirror = -1 if augmentation.flip else 1
    (a, b), (c, d) = (mirror * cos, sin), (-mirror * sin, cos)
    return np.array([[a, b, centre_x - (a + b) / 2], [c, d, centre_y - (c + d) / 2]])


def invert(affine: Affine) -> Affine:
    """`[2, 3]`: the way back."""
    (a, b, x), (c, d, y) = affine.tolist()
    determinant = a * d - b * c
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    return np.array([[a, b, -a * x - b * y], [c, d, -c * x - d * y]])


def move(points: NDArray[np.float64], affine: Affine) -> NDArray[np.float64]:
    """`[..., 2]`: points under an affine."""
    moved: NDArray[np.float64] = points @ affine[:, :2].T + affine[:, 2]
    return moved


def stored_to_image(affine: Affine, record_map: tuple[float, float, float]) -> Affine:
    """`[2, 3]`: an affine into pixels of the stored image, led on to pixels of the original.

    Args:
        affine: Ends in pixels of the stored image.
        record_map: `FaceRecord.stored_to_image`.
    """
    scale, x, y = record_map
    onward = affine * scale
    onward[:, 2] += (scale / 2 + x - 0.5, scale / 2 + y - 0.5)
    return onward


def warp(image: Image, affine: Affine, out: Image) -> None:
    """Draw the crop.

    Outside the stored image lies black: a mirrored border would show the model a second, unlabelled piece of face.
    Shrinking by more than two first averages whole areas, because bilinear interpolation would skip pixels.

    Args:
        image: `[H, W, 3]`, the stored image.
        affine: Fractions of the crop to pixels of the stored image.
        out: `[S, S, 3]`, written.
    """
    input_px = len(out)
    shrink = int(math.hypot(affine[0, 0], affine[1, 0]) / input_px)
    if shrink >= 2:
        image, affine = _shrunk(image, affine, shrink)
    pixel_to_source = affine / input_px
    pixel_to_source[:, 2] = affine[:, 2] + pixel_to_source[:, :2].sum(axis=1) / 2
    # OpenCV warps four channels more than twice as fast as three; the two conversions cost far less than that saves.
    warped = cv2.warpAffine(
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA),
        pixel_to_source,
        (input_px, input_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0, 0),
    )
    cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)


def adjust_colours(image: Image, augmentation: Augmentation) -> None:
    """Change brightness, contrast and saturation in place, by one colour matrix and one rounding.

    Brightness scales, contrast blends with the image's mean luma, saturation with the pixel's own. OpenCV multiplies
    in fixed point, so a value may be one level off the nearest.

    Args:
        image: `[S, S, 3]`, RGB.
        augmentation: What is done to the face.
    """
    gain = augmentation.brightness * augmentation.contrast
    mean = float(_LUMA @ cv2.mean(image)[:3])
    matrix = np.empty((3, 4))
    matrix[:, :3] = gain * (1 - augmentation.saturation) * _LUMA + gain * augmentation.saturation * np.eye(3)
    matrix[:, 3] = (1 - augmentation.contrast) * augmentation.brightness * mean
    cv2.transform(image, matrix, dst=image)


def _shrunk(image: Image, affine: Affine, shrink: int) -> tuple[Image, Affine]:
    height, width = image.shape[:2]
    size = (math.ceil(width / shrink), math.ceil(height / shrink))
    small: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    ratio = np.array([[size[0] / width], [size[1] / height]])
    moved = affine * ratio
    moved[:, 2] += (ratio[:, 0] - 1) / 2
    return small, moved
