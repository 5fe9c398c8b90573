"""Who is drawn and in which moment: the random choices that make a face, as numbers and names. No drawing here."""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.modes import MODE_NAMES

Floats: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = NDArray[np.float32]
"""`[3]`, RGB, 0 … 255."""


@cache
def rgb(red: float, green: float, blue: float) -> Colour:
    """A colour, or factors for one; not to be written to."""
    colour = np.array([red, green, blue], np.float32)
    colour.flags.writeable = False
    return colour


_NUM_TRAITS = MODE_NAMES.index("jaw_drop")
_SKIN_TONES = np.array(
    [
        (240, 200, 180),
        (232, 188, 160),
        (220, 172, 138),
        (200, 148, 112),
        (170, 119, 84),
        (136, 90, 62),
        (102, 66, 47),
        (74, 48, 37),
    ],
    np.float32,
)
_HAIR_COLOURS = np.array(
    [
        (22, 19, 18),
        (34, 26, 22),
        (56, 38, 28),
        (94, 64, 42),
        (140, 102, 66),
        (196, 160, 108),
        (138, 66, 34),
        (128, 126, 124),
        (206, 204, 200),
    ],
    np.float32,
)
_IRIS_COLOURS = np.array(
    [(44, 28, 20), (70, 44, 26), (96, 72, 40), (92, 102, 64), (92, 120, 146), (120, 130, 134)], np.float32
)
HAIR_STYLES = ("bald", "cropped", "short", "parted", "fringe", "long", "long_fringe", "receding", "beanie")
_HAIR_ODDS = np.array([0.07, 0.14, 0.18, 0.14, 0.1, 0.17, 0.07, 0.08, 0.05])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Person:
    """What stays the same from photo to photo."""

    traits: Floats
    """`[T]`: weights of the first T head modes."""
    skin: Colour
    hair: Colour
    iris: Colour
    hair_style: str
    hair_seed: int
    eye_size: float
    eye_slant: float
    """Millimetres by which the outer corner lies above the inner one, on top of the mean."""
    crease: float
    """Millimetres from the upper lid to its fold; near 0 is a lid without one."""
    upper_lip: float
    lower_lip: float
    """Thickness of the lips relative to the mean."""
    lip_red: float
    brow_height: float
    brow_arch: float
    brow_width: float
    beard: float
    """0 … 1: none, stubble, full."""
    moustache: float
    age: float
    """0 … 1: depth of folds and lines."""
    freckles: float
    blush: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moment:
    """What changes from photo to photo. Angles in degrees."""

    expression: str
    weights: Floats
    """`[E]`: weights of the expression modes, after the traits."""
    lids: tuple[float, float]
    """Opening of the image-left and image-right eye: 0 closed, 1 neutral."""
    brow_raise: tuple[float, float]
    """Millimetres."""
    gaze: tuple[float, float]
    """Millimetres by which the irises are shifted."""
    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def draw_person(rng: np.random.Generator) -> Person:
    """A random adult."""
    tone = rng.uniform(0, len(_SKIN_TONES) - 1)
    low = min(int(tone), len(_SKIN_TONES) - 2)
    skin = _SKIN_TONES[low] + (tone - low) * (_SKIN_TONES[low + 1] - _SKIN_TONES[low])
    bearded = rng.random() < 0.38
    style = HAIR_STYLES[rng.choice(len(HAIR_STYLES), p=_HAIR_ODDS)]
    return Person(
        traits=np.clip(rng.standard_normal(_NUM_TRAITS), -2.2, 2.2).astype(np.float32),
        skin=(skin * rng.uniform(0.94, 1.05) + rng.normal(0, 4, 3)).astype(np.float32),
        hair=_hair_colour(rng, tone),
        iris=_IRIS_COLOURS[rng.integers(0, 6 if tone < 2.5 else 3)] * np.float32(rng.uniform(0.85, 1.15)),
        hair_style=style,
        hair_seed=int(rng.integers(2**31)),
        eye_size=float(rng.uniform(0.92, 1.2)),
        eye_slant=float(rng.normal(0.6, 1.2)),
        crease=float(rng.uniform(0.6, 3.4)),
        upper_lip=float(rng.uniform(0.65, 1.45)),
        lower_lip=float(rng.uniform(0.7, 1.4)),
        lip_red=float(rng.uniform(0.25, 1.0)) if not bearded else float(rng.uniform(0.15, 0.5)),
        brow_height=float(rng.normal(0, 1.6)),
        brow_arch=float(rng.normal(0, 1.2)),
        brow_width=float(rng.uniform(0.6, 1.5)),
        beard=float(rng.uniform(0.15, 1.0)) if bearded else 0.0,
        moustache=float(rng.uniform(0.0, 1.0)) if bearded and style != "long" else 0.0,
        age=float(rng.beta(1.2, 1.6)),
        freckles=float(max(0.0, rng.normal(-0.4, 0.7))) if tone < 2.5 else 0.0,
        blush=float(rng.uniform(0, 1)),
    )


def _hair_colour(rng: np.random.Generator, tone: float) -> Colour:
    """Darker skin mostly goes with darker hair; a few people dye it."""
    if rng.random() < 0.03:
        return rng.uniform(40, 210, 3).astype(np.float32)
    last = 7 if tone < 2.5 else 3
    pick = int(rng.integers(0, last)) if rng.random() < 0.85 else int(rng.integers(7, 9))
    return np.asarray(_HAIR_COLOURS[pick] * np.float32(rng.uniform(0.85, 1.2)))


def draw_moment(rng: np.random.Generator, *, hard: bool) -> Moment:
    """A random moment: mild pose, or, where `hard`, mostly a large one."""
    name, weights = _expression(rng)
    blink = 0.0 if rng.random() < 0.05 else float(rng.uniform(0.72, 1.15))
    if name in ("laugh", "squint"):
        blink *= 0.6
    wide = 1.2 if name == "surprise" else 1.0
    wink = float(rng.uniform(0, 0.3)) if rng.random() < 0.03 else blink
    lift = 4.0 if name == "surprise" else (-2.5 if name == "anger" else 0.0)
    brows = rng.normal(lift, 1.4) + rng.normal(0, 0.6, 2)
    return Moment(
        expression=name,
        weights=weights,
        lids=(blink * wide, wink * wide),
        brow_raise=(float(brows[0]), float(brows[1])),
        gaze=(min(max(rng.normal(0, 1.8), -4.0), 4.0), min(max(rng.normal(0, 0.7), -1.5), 1.5)),
        yaw_deg=_yaw(rng, hard),
        pitch_deg=min(max(rng.normal(2, 10 if hard else 6), -24.0), 26.0),
        roll_deg=min(max(rng.normal(0, 15 if hard else 7), -35.0), 35.0),
    )


def _yaw(rng: np.random.Generator, hard: bool) -> float:
    if hard and rng.random() < 0.6:
        return float((-1, 1)[rng.integers(2)] * rng.uniform(35, 68))
    return min(max(rng.normal(0, 16), -35.0), 35.0)


_EXPRESSIONS = ("neutral", "smile", "laugh", "talk", "surprise", "anger", "pout", "squint")


def _expression(rng: np.random.Generator) -> tuple[str, Floats]:
    """Name and weights of the modes jaw_drop, smile, frown, pout, mouth_skew."""
    name = _EXPRESSIONS[rng.integers(len(_EXPRESSIONS))]
    jaw, smile, frown, pout = 0.0, rng.normal(0, 0.15), 0.0, 0.0
    if name == "smile":
        smile, jaw = rng.uniform(0.5, 1.2), max(0.0, rng.uniform(-4, 4))
    elif name == "laugh":
        smile, jaw = rng.uniform(0.8, 1.4), rng.uniform(4, 15)
    elif name == "talk":
        jaw, pout = rng.uniform(1, 11), rng.uniform(-0.3, 0.7)
    elif name == "surprise":
        jaw, pout = rng.uniform(4, 20), rng.uniform(0, 0.5)
    elif name == "anger":
        frown = rng.uniform(0.4, 1.2)
    elif name == "pout":
        pout = rng.uniform(0.5, 1.1)
    skew = rng.normal(0, 0.35) if rng.random() < 0.7 else rng.normal(0, 0.9)
    return name, np.array([jaw, smile, frown, pout, skew], np.float32)
