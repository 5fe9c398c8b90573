"""Where the points of the other protocols lie on a face whose 68 points are known: for pictures and checks of geometry.

Not annotations, and never to be trained on: points that 68 does not have are put on smooth curves through those that
it has, and ears, wings of the nose and lower rims of brows at usual distances.

    place("98", face.landmarks)    # [98, 2]
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from adodn.protocols.maps import get_map

Reals = NDArray[np.float64]

_BROW_THICKNESS = 0.06
"""Of a brow in its middle, in outer-eye distances, as in the four built-in protocols that outline it."""


def place(protocol: str, landmarks: Reals) -> Reals:
    """Points of a built-in protocol on a face.

    Args:
        protocol: Name of a built-in protocol.
        landmarks: `[68, 2]`, of an upright face.

    Returns:
        `[L, 2]`, in the same unit.

    Raises:
        ConfigError: If the protocol is unknown.
    """
    if protocol == "106":
        return _hundred_six(landmarks)
    if protocol == "98":
        return _ninety_eight(landmarks)
    if protocol == "21":
        return _twenty_one(landmarks)
    return get_map("68", protocol).apply(landmarks)


def _along(points: Reals, places: list[float]) -> Reals:
    """Points on the smooth curve through `points`, of which the first is at 0 and the last at 1."""
    return np.asarray(CubicSpline(np.linspace(0, 1, len(points)), points)(places))


def _eye(points: Reals) -> Reals:
    """Eight points of an eye's outline from six: corner, upper lid, corner, lower lid."""
    quarters = [0.25, 0.5, 0.75]
    upper, lower = points[:4], points[[3, 4, 5, 0]]
    return np.concatenate([points[:1], _along(upper, quarters), points[3:4], _along(lower, quarters)])


def _lower_rims(points: Reals) -> tuple[Reals, Reals]:
    """The four lower points of the right and of the left brow, in WFLW's order."""
    down = points[8] - points[27]
    down = down / np.linalg.norm(down) * _BROW_THICKNESS * np.linalg.norm(points[45] - points[36])
    right, left = points[[21, 20, 19, 18]], points[[25, 24, 23, 22]]
    return right + down, left + down


def _ninety_eight(points: Reals) -> Reals:
    jaw = _along(points[:17], np.linspace(0, 1, 33).tolist())
    right_rim, left_rim = _lower_rims(points)
    right_eye, left_eye = _eye(points[36:42]), _eye(points[42:48])
    brows = [points[17:22], right_rim, points[22:27], left_rim]
    pupils = np.stack([points[36:42].mean(0), points[42:48].mean(0)])
    return np.concatenate([jaw, *brows, points[27:36], right_eye, left_eye, points[48:68], pupils])


def _hundred_six(points: Reals) -> Reals:
    placed = np.full((106, 2), np.nan)
    rows = get_map("106", "98").rows
    placed[[row[0] for row in rows]] = _ninety_eight(points)
    placed[[74, 83]] = placed[[104, 105]]
    for inner_corner, wing, chain in ((39, 31, (55, 56, 57)), (42, 35, (65, 64, 63))):
        root = (points[27] + points[inner_corner]) / 2
        outside = points[wing] + 0.35 * (points[wing] - points[33]) + 0.3 * (points[30] - points[33])
        placed[list(chain)] = _along(np.stack([root, (root + outside) / 2, outside]), [0.0, 0.65, 1.0])
    return placed


def _twenty_one(points: Reals) -> Reals:
    nineteen = get_map("68", "19").apply(points)
    right_lobe, left_lobe = points[2] + 0.07 * (points[2] - points[14]), points[14] + 0.07 * (points[14] - points[2])
    return np.concatenate([nineteen[:12], right_lobe[None], nineteen[12:15], left_lobe[None], nineteen[15:]])
