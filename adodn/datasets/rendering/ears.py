"""Ears: flat shapes that stand off the sides of the head."""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.camera import Camera
from adodn.datasets.rendering.features import curve
from adodn.datasets.rendering.light import Light
from adodn.datasets.rendering.paint import mix
from adodn.datasets.rendering.person import Person, rgb
from adodn.datasets.rendering.shape import AXIS_Z

Reals: TypeAlias = NDArray[np.float64]

# (towards the back, down) in millimetres from the middle of the root, closed by the root itself.
_RIM = curve(
    np.array([(0, -14), (6, -27), (18, -31), (28, -22), (27, -6), (19, 10), (12, 26), (3, 29), (0, 20)], float), 3
)
_BOWL = curve(np.array([(3, -8), (11, -17), (18, -12), (15, 1), (7, 10), (3, 4)], float), 3)


def draw_ears(
    image: NDArray[np.uint8], camera: Camera, skin: NDArray[np.float32], person: Person, light: Light, *, near: bool
) -> None:
    """Draw the ears that face the camera (`near`, after the head) or those that the head may cover (before it)."""
    half_width = float(np.abs(skin[0, :, 22]).max())
    for sign in (-1.0, 1.0):
        outward = np.array([sign * 0.86, 0.0, 0.5])
        turned = camera.rotation @ outward
        side = camera.rotation @ np.array([sign, 0.0, 0.0])
        if (side[2] > 0.12) != near:
            continue
        rim = _stand_off(_RIM, sign, half_width)
        bowl = _stand_off(_BOWL, sign, half_width)
        brightness = light.ambient * 0.85 + light.lamp * max(0.15, float(turned @ light.direction) * 0.8 + 0.2)
        tone = np.minimum(person.skin * rgb(1.0, 0.93, 0.91) * brightness, 255)
        _fill(image, camera, rim, tone)
        _fill(image, camera, bowl, mix(tone, tone * rgb(0.55, 0.45, 0.42), 0.7))
        pixels = camera.outline(rim)
        edge = mix(tone, tone * np.float32(0.5), 0.5).tolist()
        cv2.polylines(image, [np.rint(pixels * 16).astype(np.int32)], False, edge, 1, cv2.LINE_AA, 4)


def _stand_off(outline: Reals, sign: float, half_width: float) -> Reals:
    back, down = outline[:, 0], outline[:, 1]
    return np.stack([sign * (half_width - 3 + 0.55 * back), 12 + down, AXIS_Z + 1 - 0.85 * back], 1)


def _fill(image: NDArray[np.uint8], camera: Camera, outline: Reals, colour: NDArray[np.float32]) -> None:
    pixels = camera.outline(outline)
    cv2.fillPoly(image, [np.rint(pixels * 16).astype(np.int32)], colour.tolist(), cv2.LINE_AA, 4)
