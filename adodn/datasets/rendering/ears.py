"""Ears: flat shapes that stand off the sides of the head."""

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.camera import Camera
from adodn.datasets.rendering.features import curve
from adodn.datasets.rendering.light import Light
from adodn.datasets.rendering.paint import mix
from adodn.datasets.rendering.person import Person, rgb
from adodn.datasets.rendering.shape import AXIS_Z

# (towards the back, down) in millimetres from the middle of the root, closed by the root itself.
_RIM = curve(
    np.array([(0, -14), (6, -27), (18, -31), (28, -22), (27, -6), (19, 10), (12, 26), (3, 29), (0, 20)], float), 3
)
_BOWL = curve(np.array([(3, -8), (11, -17), (18, -12), (15, 1), (7, 10), (3, 4)], float), 3)


_BACK, _DOWN = np.concatenate([_RIM, _BOWL]).T


def draw_ears(
    image: NDArray[np.uint8], camera: Camera, skin: NDArray[np.float32], person: Person, light: Light, *, near: bool
) -> None:
    """Draw the ears that face the camera (`near`, after the head) or those that the head may cover (before it)."""
    for sign in (-1.0, 1.0):
        if (sign * camera.rotation[2, 0] > 0.12) == near:
            _draw_ear(image, camera, float(np.abs(skin[0, :, 22]).max()), sign, person, light)


def _draw_ear(
    image: NDArray[np.uint8], camera: Camera, half_width: float, sign: float, person: Person, light: Light
) -> None:
    """The ear on the side of that sign of a head of that half width."""
    points = np.stack([sign * (half_width - 3 + 0.55 * _BACK), 12 + _DOWN, AXIS_Z + 1 - 0.85 * _BACK])
    fixed = np.rint(camera.project(points)[0].T * 16).astype(np.int32)
    rim, bowl = fixed[: len(_RIM)], fixed[len(_RIM) :]
    facing = float(camera.rotation @ [sign * 0.86, 0.0, 0.5] @ light.direction)
    brightness = light.ambient * 0.85 + light.lamp * max(0.15, facing * 0.8 + 0.2)
    tone = np.minimum(person.skin * rgb(1.0, 0.93, 0.91) * brightness, 255)
    cv2.fillPoly(image, [rim], tone.tolist(), cv2.LINE_AA, 4)
    cv2.fillPoly(image, [bowl], mix(tone, tone * rgb(0.55, 0.45, 0.42), 0.7).tolist(), cv2.LINE_AA, 4)
    cv2.polylines(image, [rim], False, mix(tone, tone * np.float32(0.5), 0.5).tolist(), 1, cv2.LINE_AA, 4)
