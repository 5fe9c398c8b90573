"""From a stored face to the model's square: one composed affine, one warp, light and colour. Reads no files.

All maps are affines `[..., 2, 3]`, float64, one for each face of a batch or a single one. The central one takes
fractions of the crop to pixels of the stored image; the image is warped by it, the landmarks by its inverse, so that
they cannot part.

    chosen = draw_augmentation(config, sample_draws(seed, epoch, indices))
    affines = crop_affine(boxes, crop_scale=1.3, augmentation=chosen)
    warp(image, affines[0], out)
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.config import AugmentConfig

Affine: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]
Reals: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint64]

NUM_DRAWS = 53
"""Random numbers that one face takes: eight here, forty for what covers it (`adodn.occlusion`), five here again."""
_LATER = 48
"""Where the numbers of shear and box corners begin: settings that come later take later numbers."""
# ITU-R BT.601, as JPEG has it.
_LUMA = np.array([0.299, 0.587, 0.114])
_DIAGONAL = np.diag_indices(3)
# Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014: SplitMix64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Augmentation:
    """What is done to the faces of a batch, B of them. The defaults do nothing, to any number of faces.

    The box's corners move first. Then shear, rotation, scale and shift act on the crop in this order, about its centre;
    the flip comes last.
    """

    rotation: Reals | float = 0.0
    """`[B]`, radians, from x to y: clockwise as seen."""
    scale: Reals | float = 1.0
    shift_x: Reals | float = 0.0
    """`[B]`, as a fraction of the crop's side; so is `shift_y`."""
    shift_y: Reals | float = 0.0
    shear: Reals | float = 0.0
    """`[B]`: a point y below the centre goes to the right by shear · y."""
    corners: Reals | float = 0.0
    """`[B, 4]`: how far x0 y0 x1 y1 of the box move, as fractions of its width and height."""
    flip: NDArray[np.bool_] | bool = False
    brightness: Reals | float = 1.0
    contrast: Reals | float = 1.0
    saturation: Reals | float = 1.0


def sample_draws(seed: int, epoch: int, indices: NDArray[np.int64]) -> Reals:
    """`[B, NUM_DRAWS]`: the random numbers of some faces `[B]` in one epoch, from 0 to below 1.

    The same whoever prepares a face, in whatever order and company: SplitMix64 from a start that seed, epoch and index
    are hashed to.
    """
    start = _mixed(_mixed(np.array([seed], np.uint64)) + np.uint64(epoch))
    streams = _mixed(start + indices.astype(np.uint64))
    words = _mixed(streams[:, None] + _GOLDEN * np.arange(1, NUM_DRAWS + 1, dtype=np.uint64))
    draws: Reals = (words >> np.uint64(11)) * np.float64(2.0**-53)
    return draws


def _mixed(words: Words) -> Words:
    """SplitMix64's output function; wraps around at 2^64 on purpose."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def draw_augmentation(config: AugmentConfig, draws: Reals) -> Augmentation:
    """What is done to some faces.

    Each setting has its own numbers among the draws, so that changing one never changes what another does.

    Args:
        config: Ranges.
        draws: `[B, NUM_DRAWS]`, from 0 to below 1.
    """
    rotation, scale, shift_x, shift_y, brightness, contrast, saturation = 2 * draws[:, :7].T - 1
    return Augmentation(
        rotation=math.radians(config.rotation_deg) * rotation,
        scale=1 + config.scale * scale,
        shift_x=config.translation * shift_x,
        shift_y=config.translation * shift_y,
        shear=config.shear * (2 * draws[:, _LATER] - 1),
        corners=config.box_jitter * (2 * draws[:, _LATER + 1 : _LATER + 5] - 1),
        flip=draws[:, 7] < config.flip_probability,
        brightness=1 + config.brightness * brightness,
        contrast=1 + config.contrast * contrast,
        saturation=1 + config.saturation * saturation,
    )


def crop_affine(boxes: Reals, *, crop_scale: float, augmentation: Augmentation) -> Affine:
    """`[..., 2, 3]`: fractions of the augmented crop to pixels of the stored image.

    Forward, a point at u from the crop's centre goes to F(s·R·K·u + t), K the shear; this is the way back.

    Args:
        boxes: Face boxes `[..., 4]`, pixels of the stored image.
        crop_scale: Side of the crop, as a multiple of the box's larger side.
        augmentation: What is done to the faces.
    """
    sides = np.tile(boxes[..., 2:] - boxes[..., :2], 2)
    x0, y0, x1, y1 = np.moveaxis(boxes + augmentation.corners * sides, -1, 0)
    zoom = crop_scale * np.maximum(x1 - x0, y1 - y0) / augmentation.scale
    cos, sin = zoom * np.cos(augmentation.rotation), zoom * np.sin(augmentation.rotation)
    centre_x = (x0 + x1) / 2 - cos * augmentation.shift_x - sin * augmentation.shift_y
    centre_y = (y0 + y1) / 2 + sin * augmentation.shift_x - cos * augmentation.shift_y
    centre_x = centre_x + augmentation.shear * (cos * augmentation.shift_y - sin * augmentation.shift_x)
    mirror = np.where(augmentation.flip, -1.0, 1.0)
    c, d = -mirror * sin, cos
    a, b = mirror * cos - augmentation.shear * c, sin - augmentation.shear * d
    entries = (a, b, centre_x - (a + b) / 2, c, d, centre_y - (c + d) / 2)
    return np.stack(np.broadcast_arrays(*entries), -1).reshape(*boxes.shape[:-1], 2, 3)


def invert(affine: Affine) -> Affine:
    """`[..., 2, 3]`: the way back."""
    a, b, x, c, d, y = np.moveaxis(affine.reshape(*affine.shape[:-2], 6), -1, 0)
    determinant = a * d - b * c
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    return np.stack([a, b, -a * x - b * y, c, d, -c * x - d * y], -1).reshape(affine.shape)


def move(points: Reals, affine: Affine) -> Reals:
    """Points under affines: `[..., 2]` under one, or `[B, N, 2]` under `[B, 2, 3]`."""
    offset = affine[..., 2] if affine.ndim == 2 else affine[..., None, :, 2]
    moved: Reals = points @ affine[..., :2].swapaxes(-1, -2) + offset
    return moved


def stored_to_image(affine: Affine, record_map: Reals) -> Affine:
    """`[..., 2, 3]`: affines into pixels of the stored image, led on to pixels of the original.

    Args:
        affine: `[..., 2, 3]`, ends in pixels of the stored image.
        record_map: `[..., 3]`, `FaceRecord.stored_to_image`.
    """
    scale = record_map[..., :1]
    onward = affine * scale[..., None]
    onward[..., 2] += scale / 2 + record_map[..., 1:] - 0.5
    return onward


def warp(image: Image, affine: Affine, out: Image) -> None:
    """Draw the crop.

    Outside the stored image lies black: a mirrored border would show the model a second, unlabelled piece of face.
    Shrinking by more than two first averages whole areas, because bilinear interpolation would skip pixels.

    Args:
        image: `[H, W, 3]`, RGB, or `[H, W, 4]` with anything in the fourth: OpenCV warps four channels more than twice
            as fast as three.
        affine: `[2, 3]`, fractions of the crop to pixels of the stored image.
        out: `[S, S, 3]`, written.
    """
    input_px = len(out)
    shrink = int(math.hypot(affine[0, 0], affine[1, 0]) / input_px)
    if shrink >= 2:
        image, affine = _shrunk(image, affine, shrink)
    pixel_to_source = affine / input_px
    pixel_to_source[:, 2] = affine[:, 2] + pixel_to_source[:, :2].sum(axis=1) / 2
    warped = cv2.warpAffine(
        image,
        pixel_to_source,
        (input_px, input_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0, 0),
    )
    if image.shape[2] == 4:
        cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)
    else:
        out[:] = warped


def adjust_colours(image: Image, *, brightness: float, contrast: float, saturation: float) -> None:
    """Change brightness, contrast and saturation in place, by one colour matrix and one rounding.

    Brightness scales, contrast blends with the image's mean luma, saturation with the pixel's own. OpenCV multiplies
    in fixed point, so a value may be one level off the nearest.

    Args:
        image: `[S, S, 3]`, RGB.
        brightness: Factor.
        contrast: Share of the image against its mean luma.
        saturation: Share of a pixel against its own luma.
    """
    gain = brightness * contrast
    mean = float(_LUMA @ cv2.mean(image)[:3])
    matrix = np.empty((3, 4))
    matrix[:, :3] = gain * (1 - saturation) * _LUMA
    matrix[:, 3] = (1 - contrast) * brightness * mean
    matrix[_DIAGONAL] += gain * saturation
    cv2.transform(image, matrix, dst=image)


def _shrunk(image: Image, affine: Affine, shrink: int) -> tuple[Image, Affine]:
    height, width = image.shape[:2]
    size = (math.ceil(width / shrink), math.ceil(height / shrink))
    small: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    ratio = np.array([[size[0] / width], [size[1] / height]])
    moved = affine * ratio
    moved[:, 2] += (ratio[:, 0] - 1) / 2
    return small, moved
