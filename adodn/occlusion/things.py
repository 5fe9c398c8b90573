"""What is drawn over training faces: glasses, scarves and hair that are worn, hands, phones and cups that are held.

Worn things are drawn in face units, held ones in units of the same size about their own middle, fingers upwards.

    sprite = DRAWN["hand"](3, 36)    # the fourth of its kind, at 36 pixels a unit
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

from adodn.occlusion.board import Board, Floats, Reals, Sprite, spline, uniform
from adodn.occlusion.masks import CUTS, PRINTS, MaskDesign, draw_mask
from adodn.occlusion.textures import weave

VARIANTS = 10
"""Of each kind."""

_SKINS = ((236, 190, 164), (214, 160, 128), (176, 120, 88), (120, 78, 56))
_CASES = ((28, 28, 32), (226, 226, 228), (46, 70, 118), (150, 40, 52), (188, 176, 160), (70, 100, 84))
_MUGS = ((238, 236, 230), (40, 44, 50), (190, 52, 46), (56, 104, 160), (226, 178, 70), (110, 140, 110))


def _mask(variant: int, px: int) -> Sprite:
    red, green, blue, seed = uniform(4, 300 + variant)
    plain = CUTS[variant % len(CUTS)] in ("ffp2", "surgical") or variant % 2 == 0
    white = 190 + 50 * green
    colour = (white, white, white) if plain else (60 + 180 * red, 60 + 180 * green, 60 + 180 * blue)
    design = MaskDesign(
        cut=CUTS[variant % len(CUTS)],
        colour=(round(colour[0]), round(colour[1]), round(colour[2])),
        print=PRINTS[0] if plain else PRINTS[1 + variant % 4],
        seed=variant,
        slack=0.25 * seed,
    )
    return draw_mask(design, px=px)


def _sunglasses(variant: int, px: int) -> Sprite:
    """Two lenses, a bridge and temples; the lenses let next to nothing through."""
    size, round_, tone, top, fade = uniform(5, 400 + variant)
    board = Board(-2.6, -1.1, 2.6, 1.5, px=px)
    a, b, power = 0.68 + 0.22 * size, 0.5 + 0.22 * size, 2 + 3 * round_
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    lens = np.sign(ring) * np.abs(ring) ** (2 / power) * [a, b]
    lens = lens + np.stack([0.14 * lens[:, 1] * -1, 0.1 * np.abs(lens[:, 0]) * -top], 1)
    glass = np.array([30 + 60 * tone, 28 + 34 * tone, 30 + 20 * (1 - tone)])
    frame = np.array([24, 22, 24]) if variant % 3 else np.array([120, 84, 50])
    lines = [spline([(-0.42, -0.12), (0, -0.24), (0.42, -0.12)], 16)]
    lines += [np.array([(side * 1.75, -0.18), (side * 2.3, -0.1)]) for side in (-1, 1)]
    outlines = [lens * [side, 1] + [side * 1.04, 0.08] for side in (-1, 1)]
    solid = _union(board.filled(outline) for outline in outlines)
    board.cast_shadow(solid, reach=0.14, strength=0.4)
    for line in lines:
        board.paint(board.stroke(line, 0.13), frame)
    for outline in outlines:
        mask = board.filled(outline)
        down = np.clip((board.y + 0.5) / 1.2, 0, 1)
        board.paint((0.98 - 0.2 * fade * down) * mask, glass * (0.6 + 0.7 * down[..., None]))
        streak = board.blurred(((board.x * 0.8 - board.y - 0.9 * np.sign(outline[0, 0])) % 2.6 < 0.3) * mask, 0.05)
        board.paint(0.14 * streak * mask, (225, 232, 240))
        board.paint(board.stroke(np.concatenate([outline, outline[:1]]), 0.09 + 0.06 * round_), frame)
        rim = board.stroke(outline[36:54] - [0, 0.015], 0.025)
        board.paint(0.4 * rim, (200, 200, 205))
    return board.sprite()


def _scarf(variant: int, px: int) -> Sprite:
    """Wool wound round the neck and pulled up over chin and mouth."""
    high, red, green, blue, turn, knit = uniform(6, 500 + variant)
    board = Board(-3.2, 0.2, 3.2, 6.4, px=px)
    level = 1.0 + 1.4 * high
    tilt = 0.2 * (turn - 0.5)
    heights = ((-2.5, -0.15), (-2.2, 0.0), (-1.1, 0.12), (0, 0.02), (1.1, 0.1), (2.2, 0.02), (2.5, -0.12))
    top = spline([(x, level + y + tilt * x) for x, y in heights], 40)
    sides = spline([tuple(top[-1]), (2.62, level + 0.8), (2.55, level + 1.9), (2.9, 6.6)], 20)
    left = spline([(-2.9, 6.6), (-2.5, level + 1.8), (-2.66, level + 0.7), tuple(top[0])], 20)
    outline = np.concatenate([top, sides, left])
    cloth = board.filled(outline)
    board.cast_shadow(cloth, reach=0.16, strength=0.48)
    sag = board.y - 0.16 * (2.4 - 0.3 * board.x**2) * np.float32(turn + 0.3)
    round_neck = 1.9 * np.sqrt(np.clip(1 - (board.x / 2.95) ** 2, 0.02, 1))
    folds = 0.13 * np.sin(sag * (4.2 + 2 * knit) + 0.7 * board.noise(0.7, 500 + variant))
    height = round_neck + folds + 0.03 * board.noise(0.2, 520 + variant)
    stripes = (np.sin(board.x * 2.2 + sag) > 0.55) * np.float32(0.5 if variant % 2 else 0.0)
    colour = 40 + 170 * np.array([red, green, blue], np.float32)
    colour = np.asarray(0.5 * (colour + colour.mean()), np.float32)  # wool is seldom as bright as paint
    cloth_colour = colour * (1 - stripes[..., None]) + (255 - colour) * stripes[..., None]
    wool = 1 + 0.16 * weave(board.x, sag, 7 + 6 * float(knit)) + 0.04 * board.noise(0.03, 540 + variant)
    board.paint(cloth, cloth_colour * (board.shade(np.asarray(height, np.float32)) * wool)[..., None])
    board.paint(0.5 * board.blurred(board.stroke(top, 0.14), 0.06) * cloth, 0.35 * colour)
    return board.sprite()


def _fringe(variant: int, px: int) -> Sprite:
    """Hair that hangs from above over brows and eyes: a whole fringe, or a swept lock."""
    board = Board(-3.0, -3.4, 3.0, 3.4, px=px)
    full = variant % 2 == 0
    root, sweep, reach, clump, wavy = uniform(5, 600 + variant)
    fall = board.y + np.float32(3.3)
    lean = np.float32((0.12 if full else 0.35) * (2 * sweep - 1))
    wave = np.float32(0.05 + 0.12 * wavy) * np.sin(np.float32(1.6) * board.y + board.noise(0.9, 600 + variant))
    across = board.x - lean * fall * np.sqrt(fall.clip(0)) * np.float32(0.5) + wave
    # Hairs of one lock run together towards its tip.
    locks = 2.6 + 2.4 * clump
    share = np.clip(fall / 5, 0, 1)
    across = across + np.float32(0.8) * share * np.sin(2 * np.pi * locks * across) / (2 * np.pi * locks)
    length = np.float32((2.3 + 1.5 * reach) if full else (4.0 + 2.0 * reach))
    tips = length + np.float32(0.4) * _along(across, locks, 610 + variant) + np.float32(0.25) * _along(across, 22, 620)
    middle = np.float32(0.0 if full else 1.6 * (2 * root - 1))
    half = np.float32(2.35 if full else 0.75) * (1 - (0.0 if full else 0.7) * np.clip(fall / length, 0, 1))
    inside = np.minimum((tips - fall) / np.float32(0.5), (half - abs(across - middle)) / np.float32(0.25))
    inside = np.minimum(inside, (fall - 0.12 * board.x**2) / np.float32(0.3))
    mask = np.asarray(np.clip(inside + 0.35 * _along(across, 26, 630 + variant), 0, 1), np.float32)
    board.cast_shadow(np.asarray(0.8 * mask, np.float32), reach=0.14, strength=0.45)
    tone = 170 + 26 * _along(across, 30, 640 + variant) + 22 * _along(across, locks, 650 + variant)
    shine = 40 * np.exp(-(((fall - 1.5 - 0.25 * board.x**2) / 0.5) ** 2))
    board.paint(mask, np.clip(tone + shine, 60, 250)[..., None] * np.ones(3, np.float32))
    return board.sprite()


def _along(across: Floats, strands: float, seed: int) -> Floats:
    """`[H, W]`, -1 … 1: a value that changes from strand to strand, so many a unit, and not along them."""
    values = 2 * np.array(uniform(512, seed), np.float32) - 1
    return np.asarray(np.interp(across * strands + 256, np.arange(512), values), np.float32)


def _hand(variant: int, px: int) -> Sprite:
    """The back of a hand with its forearm."""
    board = Board(-2.4, -3.6, 2.6, 7.0, px=px)
    _paint_hand(board, variant, np.array([238, 226, 220], np.float32))
    return board.sprite()


def _paint_hand(board: Board, variant: int, skin: Reals | Floats) -> None:
    spread, bend, thumb, size = uniform(4, 700 + variant)
    spread, curled = 0.04 + 0.2 * spread, variant % 3 == 2
    limbs = [[(0.05, 1.3, 0.92), (0.1, 3.2, 0.98), (0.25, 7.5, 1.25)]]
    for finger, (x, length) in enumerate(((-0.98, 1.85), (-0.34, 2.3), (0.34, 2.15), (0.96, 1.6))):
        lean = (finger - 1.5) * spread + 0.1 * (bend - 0.5)
        reach = length * (0.42 if curled else 0.92 + 0.1 * size)
        knuckle = -0.75 + 0.1 * (finger - 1.3) ** 2
        tip = (x * 1.02 + reach * lean * 1.15, knuckle - reach, 0.29 if finger < 3 else 0.25)
        middle = (x * 1.02 + 0.5 * reach * lean, knuckle - 0.52 * reach, 0.33)
        limbs.append([(0.72 * x, 1.4, 0.5), (x, knuckle, 0.42), middle, tip])
    out = 0.5 + 0.8 * thumb
    limbs.append([(0.75, 1.3, 0.5), (1.05 + 0.45 * out, 0.35, 0.42), (1.1 + 0.72 * out, -0.75, 0.3)])
    height = _relief(board, limbs)
    mask = np.clip(height * board.x.shape[1] / 14, 0, 1)
    board.cast_shadow(mask, reach=0.2, strength=0.45)
    soft = board.blurred(height, 0.05)
    crease = np.clip(1 - 1.3 * np.clip(board.blurred(height, 0.18) - height, 0, 1), 0.55, 1)
    shade = np.clip(board.shade(np.asarray(1.15 * soft, np.float32)) * crease, 0.3, 1.25)
    shade = shade * (1 + 0.012 * board.noise(0.12, 700 + variant) + 0.012 * board.noise(0.02, 720 + variant))
    red = np.float32(0.12) * _glow(board, [limb[joint] for limb in limbs[1:] for joint in (-3, -2, -1)])
    colour = skin * shade[..., None] * np.stack([1 + 0.4 * red, 1 - red, 1 - red], -1)
    board.paint(np.asarray(mask, np.float32), colour)
    for limb in [] if curled else limbs[1:]:
        _nail(board, limb, skin)


def _relief(board: Board, limbs: list[list[tuple[float, float, float]]]) -> Floats:
    """`[H, W]`: heights of round limbs, given as (x, y, radius) along their middle."""
    height = np.zeros_like(board.x)
    for limb in limbs:
        for (x0, y0, r0), (x1, y1, r1) in pairwise(limb):
            dx, dy = x1 - x0, y1 - y0
            share = np.clip(((board.x - x0) * dx + (board.y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
            square = (board.x - x0 - share * dx) ** 2 + (board.y - y0 - share * dy) ** 2
            radius = r0 + share * (r1 - r0)
            height = np.maximum(height, np.sqrt(np.maximum(radius * radius - square, 0)))
    return np.asarray(height, np.float32)


def _glow(board: Board, places: list[tuple[float, float, float]]) -> Floats:
    """`[H, W]`, 0 … 1 about places: where the blood shows in knuckles and tips."""
    spots = [np.exp(-((board.x - x) ** 2 + (board.y - y) ** 2) / (0.7 * r * r)) for x, y, r in places]
    return np.asarray(np.maximum.reduce(spots), np.float32)


def _nail(board: Board, finger: list[tuple[float, float, float]], skin: Reals | Floats) -> None:
    (x0, y0, _), (x1, y1, radius) = finger[-2:]
    along = np.array([x1 - x0, y1 - y0]) / np.hypot(x1 - x0, y1 - y0)
    across = np.array([-along[1], along[0]])
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    middle = np.array([x1, y1]) + 0.3 * radius * along
    outline = middle + 0.62 * radius * np.cos(turn) * along + 0.5 * radius * np.sin(turn) * across
    board.paint(0.35 * board.blurred(board.filled(middle + 1.15 * (outline - middle)), 0.02), 0.55 * np.asarray(skin))
    board.paint(0.75 * board.filled(outline), np.asarray(skin) * [1.04, 0.94, 0.93])
    board.paint(0.4 * board.filled(middle + 0.4 * (outline - middle) - [0.03, 0.03]), (255, 246, 242))


def _phone(variant: int, px: int) -> Sprite:
    """The back of a phone, with the ends of the fingers that hold it."""
    board = Board(-2.1, -2.9, 2.1, 2.9, px=px)
    case = np.array(_CASES[variant % len(_CASES)], np.float32)
    body = board.filled(_rounded(2.3, 4.8, 0.34))
    board.cast_shadow(body, reach=0.2, strength=0.42)
    sheen = 0.86 + 0.2 * np.clip((board.x * 0.5 - board.y * 0.3 + 1.5) / 3, 0, 1)
    board.paint(body, case * 0.55)
    board.paint(board.filled(_rounded(2.18, 4.68, 0.3)), case * sheen[..., None] + 6)
    board.paint(board.filled(_rounded(0.86, 0.9, 0.22) - np.array([0.55, 1.75])), case * 0.7 + 12)
    for x, y in ((-0.76, -1.96), (-0.34, -1.76), (-0.76, -1.54))[: 2 + variant % 2]:
        board.paint(board.ellipse(x, y, 0.18, 0.18), (16, 16, 20))
        board.paint(board.ellipse(x, y, 0.09, 0.09), (44, 48, 66))
        board.paint(board.ellipse(x - 0.04, y - 0.05, 0.025, 0.025), (200, 210, 220))
    skin = np.array(_SKINS[variant % len(_SKINS)], np.float32)
    fingers = [[(1.3, y + 0.2, 0.3), (1.1, y + 0.08, 0.33), (0.52 + 0.1 * n, y, 0.27)] for n, y in _GRIP]
    thumb = [[(-1.35, 1.0, 0.34), (-1.2, 0.4, 0.36), (-0.95, -0.35, 0.28)]]
    _fingers(board, fingers + thumb, skin, variant)
    return board.sprite()


_GRIP = ((0, -0.55), (1, 0.12), (0, 0.78), (-1, 1.38))


def _fingers(board: Board, limbs: list[list[tuple[float, float, float]]], skin: Floats, seed: int) -> None:
    """Fingers that lie over what they hold, each with its own shadow."""
    for limb in limbs:
        height = _relief(board, [limb])
        mask = np.asarray(np.clip(height * board.x.shape[1] / 14, 0, 1), np.float32)
        board.cast_shadow(mask, reach=0.09, strength=0.4)
        shade = board.shade(np.asarray(1.1 * board.blurred(height, 0.04), np.float32))
        grain = 1 + 0.012 * board.noise(0.03, 760 + seed)
        red = np.float32(0.1) * _glow(board, [limb[-1], limb[-2]])
        board.paint(mask, skin * (shade * grain)[..., None] * np.stack([1 + 0.3 * red, 1 - red, 1 - red], -1))
        _nail(board, limb, skin)


def _cup(variant: int, px: int) -> Sprite:
    """A mug or a paper cup, tilted as one drinks, with the fingers round it."""
    board = Board(-2.7, -2.2, 2.7, 2.6, px=px)
    paper = variant % 3 == 2
    colour = np.array((226, 214, 196) if paper else _MUGS[variant % len(_MUGS)], np.float32)
    low, high = (0.9, 1.28) if paper else (1.24, 1.34)
    bottom = 2.2 if paper else 1.75
    if not paper:
        handle = spline([(-1.2, -0.75), (-2.0, -0.65), (-2.1, 0.5), (-1.15, 0.95)], 30)
        board.paint(board.stroke(handle, 0.36), colour * 0.6)
        board.paint(board.stroke(handle - [0.02, 0.03], 0.24), colour * 0.9)
    turn = np.linspace(0, np.pi, 30)
    base = np.stack([low * np.cos(turn), bottom + 0.22 * np.sin(turn)], 1)
    body = board.filled(np.concatenate([[(high, -1.4)], base, [(-high, -1.4)]]))
    board.cast_shadow(body, reach=0.22, strength=0.4)
    width = high + (low - high) * np.clip((board.y + 1.4) / (bottom + 1.4), 0, 1)
    height = np.sqrt(np.clip(1 - (board.x / (1.03 * width)) ** 2, 0.01, 1)) * np.float32(0.95)
    gloss = 0.25 * np.exp(-(((board.x / width + 0.45) / 0.12) ** 2)) * (0.0 if paper else 1.0)
    band = np.float32(0.35) * ((board.y > -0.3) & (board.y < 1.1)) * (1.0 if paper or variant % 2 else 0.0)
    tone = board.shade(np.asarray(height, np.float32))[..., None] * colour * (1 - band[..., None])
    board.paint(body, tone + 200 * gloss[..., None])
    lid = board.ellipse(0, -1.4, high + 0.05, 0.3)
    board.paint(lid, (70, 62, 58) if paper else colour * 1.02)
    board.paint(board.ellipse(0, -1.37, high - 0.1, 0.22), (54, 48, 46) if paper else colour * 0.5)
    skin = np.array(_SKINS[(variant + 1) % len(_SKINS)], np.float32)
    edge = (low + high) / 2
    fingers = [
        [(edge + 0.15, y + 0.2, 0.3), (edge - 0.05, y + 0.08, 0.33), (edge - 0.9 + 0.1 * n, y, 0.27)] for n, y in _GRIP
    ]
    _fingers(board, fingers, skin, variant)
    return board.sprite()


def _rounded(width: float, height: float, corner: float) -> Reals:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False) + 1e-6
    circle = corner * np.stack([np.cos(turn), np.sin(turn)], 1)
    return np.asarray(circle + np.sign(circle) * [width / 2 - corner, height / 2 - corner])


def _union(masks: Iterable[Floats]) -> Floats:
    return np.asarray(np.maximum.reduce(list(masks)))


DRAWN: dict[str, Callable[[int, int], Sprite]] = {
    "mask": _mask,
    "sunglasses": _sunglasses,
    "scarf": _scarf,
    "fringe": _fringe,
    "hand": _hand,
    "phone": _phone,
    "cup": _cup,
}
"""Kind → its sprite, by the number of the variant and pixels a unit."""
