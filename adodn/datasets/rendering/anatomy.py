"""Where the parts of a mean adult head lie, in millimetres: numbers only.

x to the image's right, y down, z towards the camera, origin between the eyes; right halves are mirrored left halves.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]
Point: TypeAlias = tuple[float, float, float]


def _mirrored(half: list[Point], middle: list[Point]) -> list[Point]:
    """Points of the image-left half, the middle, then the same half mirrored in reverse order."""
    return [*half, *middle, *((-x, y, z) for x, y, z in reversed(half))]


_JAW: list[Point] = [
    (-71, -3, -92),
    (-70.5, 17, -90),
    (-69, 36, -86),
    (-66, 54, -79),
    (-60, 72, -65),
    (-50, 88, -45),
    (-36, 101, -24),
    (-19, 110.5, -6),
]
_BROW: list[Point] = [(-57, -16, -26), (-49, -24, -14), (-38, -27, -5), (-26.5, -25.5, 0), (-15, -21, 3)]
_BRIDGE: list[Point] = [(0, -2, 4), (0, 11, 11), (0, 24, 19), (0, 36, 26)]
_NOSE_BASE: list[Point] = [(-14, 43, 5), (-7, 46, 10.5)]
_EYE: list[Point] = [(-45, 0, -22), (-37, -5, -14), (-26, -5.2, -10), (-16.5, 1.5, -10), (-26, 5, -12), (-37, 5, -16)]
_OTHER_EYE: list[Point] = [(-_EYE[i][0], _EYE[i][1], _EYE[i][2]) for i in (3, 2, 1, 0, 5, 4)]
_UPPER_LIP: list[Point] = [(-25, 68.8, -3), (-15, 63.5, 7), (-5.5, 60, 12)]
_LOWER_LIP: list[Point] = [(17, 75, 4), (8, 79.5, 10), (0, 80.5, 11), (-8, 79.5, 10), (-17, 75, 4)]
_INNER_UPPER: list[Point] = [(-22, 68.8, -2), (-8, 68, 8)]
_INNER_LOWER: list[Point] = [(8, 69.2, 8), (0, 69.4, 9), (-8, 69.2, 8)]

MEAN_LANDMARKS: Reals = np.array(
    [
        *_mirrored(_JAW, [(0, 113, 1)]),
        *_mirrored(_BROW, []),
        *_BRIDGE,
        *_mirrored(_NOSE_BASE, [(0, 47.5, 13)]),
        *_EYE,
        *_OTHER_EYE,
        *_mirrored(_UPPER_LIP, [(0, 61.5, 13)]),
        *_LOWER_LIP,
        *_mirrored(_INNER_UPPER, [(0, 68.4, 9.5)]),
        *_INNER_LOWER,
    ]
)
"""`[68, 3]`: the ibug landmarks, mouth closed."""

_MIDDLE_SURFACE: list[Point] = [
    (0, -20, 6),
    (0, -35, 5),
    (0, -50, 3),
    (0, -65, -3),
    (0, -82, -15),
    (0, -98, -34),
    (0, -110, -58),
    (0, 41, 24),
    (0, 54, 11.5),
    (0, 87, 6),
    (0, 100, 7.5),
    (0, -110, -132),
    (0, -90, -166),
    (0, -60, -185),
    (0, -30, -190),
    (0, 10, -180),
    (0, 45, -160),
]
_SIDE_SURFACE: list[Point] = [
    (7, 36, 20),
    (9, 30, 9),
    (13, 36, 9),
    (17.5, 40, 4),
    (17, 34, 4),
    (6, 20, 11),
    (12, 22, -1),
    (7, 8, 4),
    (11, 6, -7),
    (21, 45, -2),
    (24, 34, -4),
    (10, 54, 9.5),
    (22, 58, 1),
    (31, 0, -8),
    (31, 13, -11),
    (45, 13, -22),
    (55, 2, -38),
    (31, -15, -5),
    (50, -12, -22),
    (62, -15, -46),
    (30, -40, 0),
    (30, -60, -8),
    (52, -45, -22),
    (66, -40, -52),
    (68, -20, -62),
    (40, -80, -26),
    (58, -72, -50),
    (30, -100, -42),
    (28, 25, -6),
    (40, 28, -12),
    (54, 24, -30),
    (63, 22, -54),
    (34, 50, -9),
    (48, 50, -22),
    (60, 48, -48),
    (34, 70, -10),
    (46, 70, -28),
    (28, 88, -8),
    (15, 98, 3),
    (14, 86, 3),
    (76, 0, -110),
    (77, -40, -105),
    (72, -75, -100),
    (55, -100, -95),
    (32, -112, -95),
    (72, 35, -105),
    (62, -30, -155),
    (58, 25, -150),
    (48, 45, -145),
    (52, -85, -145),
    (20, -113, -118),
]
SURFACE_POINTS: Reals = np.array(
    [*_MIDDLE_SURFACE, *_SIDE_SURFACE, *((-x, y, z) for x, y, z in _SIDE_SURFACE)], dtype=np.float64
)
"""`[N, 3]`: more points of the skin, where the landmarks leave its shape open."""

JAW_EDGE: Reals = np.array(
    [(0, 113), (12, 110.5), (27, 101), (45, 88), (63, 73), (76, 63), (90, 54), (120, 50), (180, 50)]
)
"""`[N, 2]`: degrees around the axis, y of the lower edge of jaw and skull."""
