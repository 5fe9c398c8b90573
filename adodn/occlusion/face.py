"""Where eyes, mouth and jaw of any protocol are, and the frame of a face that things are placed in.

Frames are affines `[2, 3]` from face units to the pixels in which the landmarks are given. In face units the eyes of a
face that looks at us are at (-1, 0) and (1, 0), the mouth is at (0, 2.1) and the chin at (0, 3.6): one unit is about
3 cm. Not for measuring: it is a rough fit, and in half profile only tells what a thing on the face would look like.

    Anatomy.of(protocols.get("68")).frame(landmarks)
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.protocols import LandmarkProtocol, Points

Reals: TypeAlias = NDArray[np.float64]

_RIGHT_EYE, _LEFT_EYE, _MOUTH, _CHIN = (-1.0, 0.0), (1.0, 0.0), (0.0, 2.1), (0.0, 3.6)
# Near an end of the jaw line, at its quarter, at its middle; their means over faces that look at us.
_JAW = {0.0: (-2.15, -0.05), 0.25: (-1.8, 2.2), 0.5: _CHIN, 0.75: (1.8, 2.2), 1.0: (2.15, -0.05)}
_BOX = (-2.15, -0.8, 2.15, 3.6)
"""What the landmarks of a whole face span: the frame of protocols whose points have no known meaning."""
_LEAST_WIDTH = 0.45
"""Of a face in profile, as a share of its width from the front: its far half never vanishes."""
_LEAST_UNIT = 0.5
"""Pixels; landmarks that lie in one spot still span a frame."""


def points_of(protocol: LandmarkProtocol, *words: str) -> Points:
    """Landmarks whose name holds one of some words, e.g. `right_eye`; brows count as no eyes."""
    return tuple(
        point for point, name in enumerate(protocol.names) if "brow" not in name and any(word in name for word in words)
    )


def eyes_of(protocol: LandmarkProtocol) -> tuple[Points, Points]:
    """Landmarks of the person's right and of the left eye, by their names, or else those that normalise by the eyes."""
    right, left = points_of(protocol, "right_eye", "right_pupil"), points_of(protocol, "left_eye", "left_pupil")
    if right and left:
        return right, left
    for normaliser in ("pupils", "outer_eye_corners"):
        if normaliser in protocol.normalisers:
            return protocol.normalisers[normaliser]
    return (), ()


def mouth_of(protocol: LandmarkProtocol) -> Points:
    """Landmarks of the mouth, by their names."""
    return points_of(protocol, "mouth", "lip")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Anatomy:
    """How the frames of one protocol's faces follow from their landmarks."""

    whole: Reals | None
    """`[L, 3]`: landmarks, transposed, times this are the frame by eyes and mouth; None where these are not known."""
    lower: Reals | None
    """The same for what is worn on the lower face: by mouth, jaw and chin as well."""

    @staticmethod
    def of(protocol: LandmarkProtocol) -> "Anatomy":
        """The anatomy of a protocol; any will do."""
        right, left = eyes_of(protocol)
        mouth = mouth_of(protocol)
        if not (right and left and mouth):
            return Anatomy(whole=None, lower=None)
        upper: dict[Points, tuple[float, float]] = {right: _RIGHT_EYE, left: _LEFT_EYE, mouth: _MOUTH}
        jaw = protocol.parts.get("jaw", ())
        below: dict[Points, tuple[float, float]] = (
            {(jaw[round(at * (len(jaw) - 1))],): place for at, place in _JAW.items()} if len(jaw) >= 5 else {}
        )
        chin = points_of(protocol, "chin")
        below |= {chin: _CHIN} if chin and not below else {}
        return Anatomy(
            whole=_fit(protocol.num_landmarks, upper),
            lower=_fit(protocol.num_landmarks, {**upper, **below}),
        )

    def frame(self, landmarks: Reals, *, lower: bool = False) -> Reals:
        """`[2, 3]`: face units to pixels, never flat or tiny whatever the landmarks are.

        Args:
            landmarks: `[L, 2]`, pixels.
            lower: Fit the lower face, as a mask does.
        """
        weights = self.lower if lower else self.whole
        frame = _box_frame(landmarks) if weights is None else landmarks.T @ weights
        return _opened(frame)


def _fit(num_landmarks: int, anchors: dict[Points, tuple[float, float]]) -> Reals:
    """Least squares from the means of some landmarks: linear in the landmarks, so one matrix serves all faces."""
    means = np.zeros((len(anchors), num_landmarks))
    for row, points in enumerate(anchors):
        means[row, list(points)] = 1 / len(points)
    places = np.column_stack([np.array(list(anchors.values())), np.ones(len(anchors))])
    return np.asarray(means.T @ np.linalg.pinv(places).T)


def _box_frame(landmarks: Reals) -> Reals:
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    x0, y0, x1, y1 = _BOX
    across, down = (high - low) / (x1 - x0, y1 - y0)
    # A protocol of the eyes alone is flat: its frame is as high as it is wide.
    across, down = max(across, 0.5 * down), max(down, 0.5 * across)
    middle = (low + high) / 2
    return np.array([[across, 0.0, middle[0] - across * (x0 + x1) / 2], [0.0, down, middle[1] - down * (y0 + y1) / 2]])


def _opened(frame: Reals) -> Reals:
    """The frame, widened where the face is turned away, and enlarged where the landmarks lie in one spot."""
    (a, b, x), (c, d, y) = frame.tolist()
    length = (b * b + d * d) ** 0.5
    if length < _LEAST_UNIT:
        b, d, length = 0.0, _LEAST_UNIT, _LEAST_UNIT
    lacking = _LEAST_WIDTH - (a * d - c * b) / (length * length)
    if lacking > 0:
        a, c = a + lacking * d, c - lacking * b
    return np.array([[a, b, x], [c, d, y]])
