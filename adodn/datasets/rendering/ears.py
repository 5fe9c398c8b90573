"""Ears: flat shapes that stand off the sides of the head."""

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.brush import brush, shapes
from adodn.datasets.rendering.camera import Camera
from adodn.datasets.rendering.features import curve
from adodn.datasets.rendering.light import Light
from adodn.datasets.rendering.person import Person, rgb
from adodn.datasets.rendering.shape import AXIS_Z

# (towards the back, down) in millimetres from the middle of the root, closed by the root itself.
_RIM = curve(
    np.array([(0, -14), (6, -27), (18, -31), (28, -22), (27, -6), (19, 10), (12, 26), (3, 29), (0, 20)], float), 3
)
_BOWL = curve(np.array([(3, -8), (11, -17), (18, -12), (15, 1), (7, 10), (3, 4)], float), 3)

_BACK, _DOWN = np.concatenate([_RIM, _BOWL, _RIM]).T
_POINTS = np.stack([0.55 * _BACK - 3, 12 + _DOWN, AXIS_Z + 1 - 0.85 * _BACK])
"""`[3, N]`, millimetres; x from the side of the head outwards."""
_SIDES = np.repeat([-1.0, 1.0], len(_BACK))
_SHAPES = shapes([len(_RIM), len(_BOWL), len(_RIM)] * 2, [0, 0, 1.2] * 2)
_SHADE = rgb(1.0, 0.93, 0.91)
_PAINTS = np.array([(1, 1, 1, 1), (0.68, 0.62, 0.59, 1), (0.5, 0.5, 0.5, 0.5)], np.float32)


class Ears:
    """Both ears of a head, lit. Those that the head may cover are drawn before it, those that face the camera after."""

    def __init__(self, camera: Camera, skin: NDArray[np.float32], person: Person, light: Light) -> None:
        points = np.tile(_POINTS, 2)
        points[0] = _SIDES * (float(np.abs(skin[0, :, 22]).max()) + points[0])
        self._pixels = camera.project(points)[0]
        across, ahead = 0.86 * camera.rotation[:, 0], 0.5 * camera.rotation[:, 2]
        facing = (ahead - across) @ light.direction, (ahead + across) @ light.direction
        tones = [light.ambient * 0.85 + light.lamp * max(0.15, float(part) * 0.8 + 0.2) for part in facing]
        self._paints = np.tile(_PAINTS, (2, 1, 1))
        self._paints[..., :3] *= np.minimum(tones * (person.skin * _SHADE), 255)[:, None]
        slope = float(camera.rotation[2, 0])
        self._near = np.array([-slope > 0.12, slope > 0.12], np.float32)

    def draw(self, image: NDArray[np.uint8], *, near: bool) -> None:
        """Draw those that face the camera, or the others."""
        paints = self._paints.copy()
        paints[..., 3] *= (self._near == near)[:, None]
        brush(image, self._pixels, _SHAPES, paints.reshape(-1, 4))
