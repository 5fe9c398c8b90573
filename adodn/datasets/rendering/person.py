"""Who is drawn and in which moment: the random choices that make a face, as numbers and names. No drawing here."""

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.modes import MODE_NAMES

Thing = TypeVar("Thing")
Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
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
_HAIR_COLOURS = (
    rgb(22, 19, 18),
    rgb(34, 26, 22),
    rgb(56, 38, 28),
    rgb(94, 64, 42),
    rgb(140, 102, 66),
    rgb(196, 160, 108),
    rgb(138, 66, 34),
    rgb(128, 126, 124),
    rgb(206, 204, 200),
)
_IRIS_COLOURS = (
    rgb(44, 28, 20),
    rgb(70, 44, 26),
    rgb(96, 72, 40),
    rgb(92, 102, 64),
    rgb(92, 120, 146),
    rgb(120, 130, 134),
)
HAIR_STYLES = ("bald", "cropped", "short", "parted", "fringe", "long", "long_fringe", "receding", "beanie")
_HAIR_ODDS = tuple(itertools.accumulate((0.07, 0.14, 0.18, 0.14, 0.1, 0.17, 0.07, 0.08, 0.05)))
NUM_HAIR_NOISE = 72


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Person:
    """What stays the same from photo to photo."""

    traits: Floats
    """`[T]`: weights of the first T head modes."""
    skin: Colour
    hair: Colour
    iris: Colour
    hair_style: str
    hair_noise: Reals
    """`[72]`, of a standard normal distribution: how the hairline differs from others of its style."""
    texture: int
    """Which of the patterns of skin and hair."""
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


class _Dice:
    """Random numbers thrown many at once: one by one each takes as long as fifty of them."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self._shares = iter(rng.random(count).tolist())
        self._normals = iter(rng.standard_normal(count).tolist())

    def uniform(self, low: float, high: float) -> float:
        return float(low + (high - low) * next(self._shares))

    def normal(self, mean: float, deviation: float, low: float = -math.inf, high: float = math.inf) -> float:
        return float(min(max(mean + deviation * next(self._normals), low), high))

    def below(self, odds: float) -> bool:
        return float(next(self._shares)) < odds

    def one_of(self, things: Sequence[Thing]) -> Thing:
        return things[int(len(things) * next(self._shares))]


def draw_person(rng: np.random.Generator) -> Person:
    """A random adult."""
    dice = _Dice(rng, 40)
    tone = dice.uniform(0, len(_SKIN_TONES) - 1)
    low = min(int(tone), len(_SKIN_TONES) - 2)
    skin = _SKIN_TONES[low] + np.float32(tone - low) * (_SKIN_TONES[low + 1] - _SKIN_TONES[low])
    tint = np.array([dice.normal(0, 4) for _ in range(3)], np.float32)
    bearded = dice.below(0.38)
    style = HAIR_STYLES[bisect.bisect(_HAIR_ODDS, dice.uniform(0, _HAIR_ODDS[-1]))]
    return Person(
        traits=rng.standard_normal(_NUM_TRAITS, np.float32).clip(-2.2, 2.2),
        skin=skin * np.float32(dice.uniform(0.94, 1.05)) + tint,
        hair=_hair_colour(dice, tone),
        iris=dice.one_of(_IRIS_COLOURS if tone < 2.5 else _IRIS_COLOURS[:3]) * np.float32(dice.uniform(0.85, 1.15)),
        hair_style=style,
        hair_noise=rng.standard_normal(NUM_HAIR_NOISE),
        texture=int(dice.uniform(0, 2**31)),
        eye_size=dice.uniform(0.92, 1.2),
        eye_slant=dice.normal(0.6, 1.2),
        crease=dice.uniform(0.6, 3.4),
        upper_lip=dice.uniform(0.65, 1.45),
        lower_lip=dice.uniform(0.7, 1.4),
        lip_red=dice.uniform(0.15, 0.5) if bearded else dice.uniform(0.25, 1.0),
        brow_height=dice.normal(0, 1.6),
        brow_arch=dice.normal(0, 1.2),
        brow_width=dice.uniform(0.6, 1.5),
        beard=dice.uniform(0.15, 1.0) if bearded else 0.0,
        moustache=dice.uniform(0.0, 1.0) if bearded and style != "long" else 0.0,
        age=rng.beta(1.2, 1.6),
        freckles=dice.normal(-0.4, 0.7, low=0.0) if tone < 2.5 else 0.0,
        blush=dice.uniform(0, 1),
    )


def _hair_colour(dice: _Dice, tone: float) -> Colour:
    """Darker skin mostly goes with darker hair; a few people dye it."""
    if dice.below(0.03):
        return np.array([dice.uniform(40, 210) for _ in range(3)], np.float32)
    natural = _HAIR_COLOURS[: 7 if tone < 2.5 else 3]
    colour = dice.one_of(natural if dice.below(0.85) else _HAIR_COLOURS[7:])
    return np.asarray(colour * np.float32(dice.uniform(0.85, 1.2)))


def draw_moment(rng: np.random.Generator, *, hard: bool) -> Moment:
    """A random moment: mild pose, or, where `hard`, mostly a large one."""
    dice = _Dice(rng, 16)
    name, weights = _expression(dice)
    blink = 0.0 if dice.below(0.05) else dice.uniform(0.72, 1.15)
    if name in ("laugh", "squint"):
        blink *= 0.6
    wide = 1.2 if name == "surprise" else 1.0
    wink = dice.uniform(0, 0.3) if dice.below(0.03) else blink
    lift = dice.normal(4.0 if name == "surprise" else (-2.5 if name == "anger" else 0.0), 1.4)
    return Moment(
        expression=name,
        weights=weights,
        lids=(blink * wide, wink * wide),
        brow_raise=(dice.normal(lift, 0.6), dice.normal(lift, 0.6)),
        gaze=(dice.normal(0, 1.8, -4.0, 4.0), dice.normal(0, 0.7, -1.5, 1.5)),
        yaw_deg=_yaw(dice, hard),
        pitch_deg=dice.normal(2, 10 if hard else 6, -24.0, 26.0),
        roll_deg=dice.normal(0, 15 if hard else 7, -35.0, 35.0),
    )


def _yaw(dice: _Dice, hard: bool) -> float:
    if hard and dice.below(0.6):
        return dice.one_of((-1, 1)) * dice.uniform(35, 68)
    return dice.normal(0, 16, -35.0, 35.0)


_EXPRESSIONS = ("neutral", "smile", "laugh", "talk", "surprise", "anger", "pout", "squint")


def _expression(dice: _Dice) -> tuple[str, Floats]:
    """Name and weights of the modes jaw_drop, smile, frown, pout, mouth_skew."""
    name = dice.one_of(_EXPRESSIONS)
    jaw, smile, frown, pout = 0.0, dice.normal(0, 0.15), 0.0, 0.0
    if name == "smile":
        smile, jaw = dice.uniform(0.5, 1.2), max(0.0, dice.uniform(-4, 4))
    elif name == "laugh":
        smile, jaw = dice.uniform(0.8, 1.4), dice.uniform(4, 15)
    elif name == "talk":
        jaw, pout = dice.uniform(1, 11), dice.uniform(-0.3, 0.7)
    elif name == "surprise":
        jaw, pout = dice.uniform(4, 20), dice.uniform(0, 0.5)
    elif name == "anger":
        frown = dice.uniform(0.4, 1.2)
    elif name == "pout":
        pout = dice.uniform(0.5, 1.1)
    skew = dice.normal(0, 0.35) if dice.below(0.7) else dice.normal(0, 0.9)
    return name, np.array([jaw, smile, frown, pout, skew], np.float32)
