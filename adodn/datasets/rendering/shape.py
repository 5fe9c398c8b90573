"""The mean face in millimetres: x to the image's right, y down, z towards the camera, origin between the eyes."""

import numpy as np
from numpy.typing import NDArray


def _mirrored(half: list[tuple[float, float, float]], middle: list[tuple[float, float, float]]) -> list[list[float]]:
    """Points of the image-left half, the middle, then the same half mirrored in reverse order."""
    return [list(p) for p in (*half, *middle)] + [[-x, y, z] for x, y, z in reversed(half)]


_JAW = _mirrored(
    [
        (-71, -3, -92),
        (-70.5, 17, -90),
        (-69, 36, -86),
        (-66, 54, -79),
        (-60, 72, -65),
        (-50, 88, -45),
        (-36, 101, -24),
        (-19, 110.5, -6),
    ],
    [(0, 113, 1)],
)
_BROWS = _mirrored([(-57, -16, -24), (-49, -24, -13), (-38, -27, -4), (-26.5, -25.5, 1), (-15, -21, 4)], [])
_BRIDGE = [[0, -2, 4], [0, 11, 11], [0, 24, 19], [0, 36, 26]]
_NOSE_BASE = _mirrored([(-14, 43, 4), (-7, 46, 10)], [(0, 47.5, 13)])
_EYE: list[list[float]] = [
    [-45, 0, -20],
    [-37, -5, -13],
    [-26, -5.2, -10],
    [-16.5, 1.5, -9],
    [-26, 5, -11],
    [-37, 5, -15],
]
_OTHER_EYE = [[-_EYE[i][0], _EYE[i][1], _EYE[i][2]] for i in (3, 2, 1, 0, 5, 4)]
_UPPER = _mirrored([(-25, 69, -4), (-15, 63.5, 6), (-5.5, 60, 12)], [(0, 61.5, 13)])
_LOWER = [[17, 75, 4], [8, 79, 10], [0, 80, 11], [-8, 79, 10], [-17, 75, 4]]
_INNER_UPPER = _mirrored([(-22, 69, -3), (-8, 67.5, 8)], [(0, 68, 9.5)])
_INNER_LOWER = [[8, 69, 8], [0, 69.5, 9], [-8, 69, 8]]

MEAN_LANDMARKS: NDArray[np.float64] = np.array(
    _JAW + _BROWS + _BRIDGE + _NOSE_BASE + _EYE + _OTHER_EYE + _UPPER + _LOWER + _INNER_UPPER + _INNER_LOWER
)
"""`[68, 3]`."""
