"""The seven built-in protocols: 5, 19, 21, 29, 68, 98 and 106 landmarks.

Not here: maps between them (`maps`), and normalisers by a face box, which need no landmarks (`adodn.metrics`).
Right and left are the person's own everywhere, also where the dataset's documents mean the viewer's (AFLW, MTFL).
Points of two protocols have the same name where both mean the same spot of the face.

    BUILT_IN[4].name    # "68"; users say adodn.protocols.get("68")
"""

from typing import TypeAlias

from adodn.protocols.layout import LandmarkProtocol, Points, point_names

_Named: TypeAlias = dict[str, int | tuple[int, int]]
"""Name → the point on the midline, or the person's right and left point."""


def _span(first: int, last: int) -> Points:
    """first … last inclusive, downwards when last is smaller."""
    step = 1 if last >= first else -1
    return tuple(range(first, last + step, step))


def _protocol(
    name: str,
    *,
    flip: Points,
    normalisers: dict[str, tuple[Points, Points]],
    parts: dict[str, Points],
    closed: tuple[str, ...] = (),
    named: _Named,
) -> LandmarkProtocol:
    return LandmarkProtocol(
        name=name,
        num_landmarks=len(flip),
        flip=flip,
        normalisers=normalisers,
        parts=parts,
        closed_parts=frozenset(closed),
        names=point_names(len(flip), parts, _by_point(named)),
    )


def _by_point(named: _Named) -> dict[int, str]:
    names = {}
    for name, points in named.items():
        if isinstance(points, int):
            names[points] = name
        else:
            right, left = points
            names |= {right: f"right_{name}", left: f"left_{name}"}
    return names


_FIVE = _protocol(
    "5",  # MTFL; its documents say left eye for the one at the left of the image
    flip=(1, 0, 2, 4, 3),
    normalisers={"pupils": ((0,), (1,))},
    parts={"right_pupil": (0,), "left_pupil": (1,), "nose_tip": (2,), "mouth": (3, 4)},
    named={"mouth_corner": (3, 4)},
)


_AFLW_BROWS_AND_EYES: dict[str, Points] = {
    "right_brow": (0, 1, 2),
    "left_brow": (3, 4, 5),
    "right_eye": (6, 7, 8),
    "left_eye": (9, 10, 11),
}
_AFLW_NAMES: _Named = {
    "brow_outer_end": (0, 5),
    "brow_centre": (1, 4),
    "brow_inner_end": (2, 3),
    "eye_outer_corner": (6, 11),
    "pupil": (7, 10),
    "eye_inner_corner": (8, 9),
}
_AFLW_NORMALISERS: dict[str, tuple[Points, Points]] = {"outer_eye_corners": ((6,), (11,)), "pupils": ((7,), (10,))}

_NINETEEN = _protocol(
    "19",  # AFLW without the ears
    flip=(*_span(5, 0), *_span(11, 6), 14, 13, 12, 17, 16, 15, 18),
    normalisers=_AFLW_NORMALISERS,
    parts={**_AFLW_BROWS_AND_EYES, "nose": (12, 13, 14), "mouth": (15, 16, 17), "chin": (18,)},
    named={
        **_AFLW_NAMES,
        "nose_wing": (12, 14),
        "nose_tip": 13,
        "mouth_corner": (15, 17),
        "mouth_centre": 16,
    },
)

_TWENTY_ONE = _protocol(
    "21",  # AFLW; its LeftEar is the one at the left of the image, so the person's right
    flip=(*_span(5, 0), *_span(11, 6), 16, 15, 14, 13, 12, 19, 18, 17, 20),
    normalisers=_AFLW_NORMALISERS,
    parts={
        **_AFLW_BROWS_AND_EYES,
        "right_ear": (12,),
        "nose": (13, 14, 15),
        "left_ear": (16,),
        "mouth": (17, 18, 19),
        "chin": (20,),
    },
    named={
        **_AFLW_NAMES,
        "nose_wing": (13, 15),
        "nose_tip": 14,
        "mouth_corner": (17, 19),
        "mouth_centre": 18,
    },
)


_TWENTY_NINE = _protocol(
    "29",  # COFW: pairs alternate right, left
    flip=(1, 0, 3, 2, 6, 7, 4, 5, 9, 8, 11, 10, 14, 15, 12, 13, 17, 16, 19, 18, 20, 21, 23, 22, *_span(24, 28)),
    normalisers={"outer_eye_corners": ((8,), (9,)), "pupils": ((16,), (17,))},
    parts={
        "right_brow": (0, 4, 2, 5),
        "left_brow": (3, 6, 1, 7),
        "right_eye": (8, 12, 10, 13),
        "left_eye": (11, 14, 9, 15),
        "right_pupil": (16,),
        "left_pupil": (17,),
        "nose_tip": (20,),
        "nose_base": (18, 21, 19),
        "outer_lips": (22, 24, 23, 27),
        "inner_lips": (25, 26),
        "chin": (28,),
    },
    closed=("right_brow", "left_brow", "right_eye", "left_eye", "outer_lips"),
    named={
        "brow_outer_end": (0, 1),
        "brow_inner_end": (2, 3),
        "brow_upper_rim": (4, 6),
        "brow_lower_rim": (5, 7),
        "eye_outer_corner": (8, 9),
        "eye_inner_corner": (10, 11),
        "eye_upper_lid": (12, 14),
        "eye_lower_lid": (13, 15),
        "nose_wing": (18, 19),
        "nose_base_centre": 21,
        "mouth_corner": (22, 23),
        "upper_lip_top": 24,
        "upper_lip_bottom": 25,
        "lower_lip_top": 26,
        "lower_lip_bottom": 27,
    },
)


_SIXTY_EIGHT = _protocol(
    "68",  # ibug: 300W, 300VW, COFW68
    flip=(
        *_span(16, 0),
        *_span(26, 17),
        *_span(27, 30),
        *_span(35, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *_span(54, 48),
        *_span(59, 55),
        *_span(64, 60),
        *_span(67, 65),
    ),
    normalisers={
        "outer_eye_corners": ((36,), (45,)),
        "pupils": (_span(36, 41), _span(42, 47)),
    },
    parts={
        "jaw": _span(0, 16),
        "right_brow": _span(17, 21),
        "left_brow": _span(22, 26),
        "nose_bridge": _span(27, 30),
        "nose_base": _span(31, 35),
        "right_eye": _span(36, 41),
        "left_eye": _span(42, 47),
        "outer_lips": _span(48, 59),
        "inner_lips": _span(60, 67),
    },
    closed=("right_eye", "left_eye", "outer_lips", "inner_lips"),
    named={
        "chin": 8,
        "nose_tip": 30,
        "nose_base_centre": 33,
        "brow_outer_end": (17, 26),
        "brow_inner_end": (21, 22),
        "eye_outer_corner": (36, 45),
        "eye_inner_corner": (39, 42),
        "mouth_corner": (48, 54),
        "upper_lip_top": 51,
        "lower_lip_bottom": 57,
        "upper_lip_bottom": 62,
        "lower_lip_top": 66,
    },
)


_NINETY_EIGHT = _protocol(
    "98",  # WFLW: brows and eyes are outlines, a brow's upper rim first
    flip=(
        *_span(32, 0),
        *(*_span(46, 42), *_span(50, 47)),
        *(*_span(37, 33), *_span(41, 38)),
        *_span(51, 54),
        *_span(59, 55),
        *(*_span(72, 68), *_span(75, 73)),
        *(*_span(64, 60), *_span(67, 65)),
        *(*_span(82, 76), *_span(87, 83)),
        *(*_span(92, 88), *_span(95, 93)),
        *(97, 96),
    ),
    normalisers={"outer_eye_corners": ((60,), (72,)), "pupils": ((96,), (97,))},
    parts={
        "jaw": _span(0, 32),
        "right_brow": _span(33, 41),
        "left_brow": _span(42, 50),
        "nose_bridge": _span(51, 54),
        "nose_base": _span(55, 59),
        "right_eye": _span(60, 67),
        "left_eye": _span(68, 75),
        "outer_lips": _span(76, 87),
        "inner_lips": _span(88, 95),
        "right_pupil": (96,),
        "left_pupil": (97,),
    },
    closed=("right_brow", "left_brow", "right_eye", "left_eye", "outer_lips", "inner_lips"),
    named={
        "chin": 16,
        "nose_tip": 54,
        "nose_base_centre": 57,
        "brow_outer_end": (33, 46),
        "eye_outer_corner": (60, 72),
        "eye_inner_corner": (64, 68),
        "eye_upper_lid": (62, 70),
        "eye_lower_lid": (66, 74),
        "mouth_corner": (76, 82),
        "upper_lip_top": 79,
        "lower_lip_bottom": 85,
        "upper_lip_bottom": 90,
        "lower_lip_top": 94,
    },
)


_HUNDRED_SIX = _protocol(
    "106",  # LaPa and JD-landmark: as 98, with the sides of the nose and the middle of each eye
    flip=(
        *_span(32, 0),
        *(*_span(46, 42), *_span(50, 47)),
        *(*_span(37, 33), *_span(41, 38)),
        *_span(51, 54),
        *_span(65, 55),
        *(*_span(79, 75), *_span(82, 80), 83),
        *(*_span(70, 66), *_span(73, 71), 74),
        *(*_span(90, 84), *_span(95, 91)),
        *(*_span(100, 96), *_span(103, 101)),
        *(105, 104),
    ),
    normalisers={"outer_eye_corners": ((66,), (79,)), "pupils": ((104,), (105,))},
    parts={
        "jaw": _span(0, 32),
        "right_brow": _span(33, 41),
        "left_brow": _span(42, 50),
        "nose_bridge": _span(51, 54),
        "right_nose_side": _span(55, 57),
        "nose_base": _span(58, 62),
        "left_nose_side": _span(63, 65),
        "right_eye": _span(66, 73),
        "right_eye_centre": (74,),
        "left_eye": _span(75, 82),
        "left_eye_centre": (83,),
        "outer_lips": _span(84, 95),
        "inner_lips": _span(96, 103),
        "right_pupil": (104,),
        "left_pupil": (105,),
    },
    closed=("right_brow", "left_brow", "right_eye", "left_eye", "outer_lips", "inner_lips"),
    named={
        "chin": 16,
        "nose_tip": 54,
        "nose_base_centre": 60,
        "brow_outer_end": (33, 46),
        "nose_wing": (57, 63),
        "eye_outer_corner": (66, 79),
        "eye_inner_corner": (70, 75),
        "eye_upper_lid": (68, 77),
        "eye_lower_lid": (72, 81),
        "mouth_corner": (84, 90),
        "upper_lip_top": 87,
        "lower_lip_bottom": 93,
        "upper_lip_bottom": 98,
        "lower_lip_top": 102,
    },
)

BUILT_IN = (_FIVE, _NINETEEN, _TWENTY_ONE, _TWENTY_NINE, _SIXTY_EIGHT, _NINETY_EIGHT, _HUNDRED_SIX)
"""By number of landmarks, fewest first."""
