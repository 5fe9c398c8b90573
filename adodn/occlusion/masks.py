"""Face masks of several cuts and cloths, drawn flat in face units. How one is put on a face is not decided here.

sprite = draw_mask(MaskDesign(cut="surgical", colour=(150, 196, 214)), px=36)
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from adodn.occlusion.board import Board, Floats, Reals, Sprite, spline, uniform
from adodn.occlusion.textures import weave

MaskCut: TypeAlias = Literal["surgical", "cloth", "ffp2", "duckbill", "bandana", "gaiter"]
CUTS: tuple[MaskCut, ...] = get_args(MaskCut)
MaskPrint: TypeAlias = Literal["plain", "stripes", "checks", "dots", "leaves"]
PRINTS: tuple[MaskPrint, ...] = get_args(MaskPrint)

Colour: TypeAlias = tuple[int, int, int]

# The right half of each outline, top to bottom, in face units; the left half mirrors it.
_TOPS: dict[str, list[tuple[float, float]]] = {
    "surgical": [(0, 0.5), (0.28, 0.58), (0.75, 0.8), (1.3, 0.92), (1.98, 1.02)],
    "cloth": [(0, 0.42), (0.25, 0.5), (0.7, 0.78), (1.3, 0.88), (2.08, 0.82)],
    "ffp2": [(0, 0.36), (0.25, 0.46), (0.7, 0.82), (1.25, 1.12), (1.9, 1.5)],
    "duckbill": [(0, 0.42), (0.3, 0.52), (0.8, 0.8), (1.3, 1.1), (1.9, 1.55)],
    "bandana": [(0, 0.5), (0.4, 0.58), (1.0, 0.72), (1.6, 0.68), (2.3, 0.5)],
    "gaiter": [(0, 0.48), (0.4, 0.6), (1.0, 0.8), (1.6, 0.86), (2.2, 0.84)],
}
_BOTTOMS: dict[str, list[tuple[float, float]]] = {
    "surgical": [(2.04, 1.5), (1.92, 2.15), (1.62, 2.72), (1.22, 3.22), (0.66, 3.68), (0, 3.84)],
    "cloth": [(2.1, 1.2), (1.98, 1.9), (1.62, 2.75), (1.2, 3.26), (0.64, 3.7), (0, 3.84)],
    "ffp2": [(1.86, 2.05), (1.66, 2.65), (1.24, 3.2), (0.68, 3.66), (0, 3.82)],
    "duckbill": [(1.84, 2.05), (1.6, 2.7), (1.2, 3.22), (0.7, 3.64), (0, 3.76)],
    "bandana": [(2.16, 1.5), (1.96, 2.3), (1.62, 3.0), (1.2, 3.75), (0.6, 4.6), (0, 5.1)],
    "gaiter": [(2.2, 1.6), (2.0, 2.3), (1.74, 3.0), (1.62, 3.8), (1.66, 4.6), (1.7, 5.2), (0, 5.4)],
}
_STRAPS: dict[str, list[list[tuple[float, float]]]] = {
    "surgical": [[(1.9, 1.08), (2.12, 0.72), (2.23, 0.3)], [(1.86, 2.2), (2.12, 1.55), (2.25, 1.05)]],
    "cloth": [[(2.0, 0.9), (2.2, 0.6), (2.27, 0.28)], [(1.9, 1.9), (2.16, 1.4), (2.27, 1.0)]],
    "ffp2": [[(1.82, 1.55), (2.05, 0.95), (2.23, 0.25)], [(1.8, 2.1), (2.1, 1.6), (2.25, 1.1)]],
    "duckbill": [[(1.82, 1.6), (2.05, 0.75), (2.2, -0.1)], [(1.76, 2.2), (1.88, 2.08), (1.96, 1.9)]],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskDesign:
    """What one mask looks like."""

    cut: MaskCut
    colour: Colour
    """RGB of the cloth."""
    second: Colour = (236, 236, 232)
    """RGB of its print."""
    print: MaskPrint = "plain"
    seed: int = 0
    """Of its folds and grain."""
    slack: float = 0.0
    """How far the upper edge hangs below its usual place, in face units."""


def draw_mask(design: MaskDesign, *, px: int) -> Sprite:
    """A mask with its straps, as it lies on a face that looks at us.

    Args:
        design: Which.
        px: Pixels a face unit.
    """
    board = _board(design.cut, px)
    _paint_straps(board, design.cut)
    _paint_cloth(board, design)
    return board.sprite()


def draw_cloth(design: MaskDesign, *, px: int) -> Sprite:
    """The same without its straps."""
    board = _board(design.cut, px)
    _paint_cloth(board, design)
    return board.sprite()


def draw_straps(cut: MaskCut, *, px: int) -> Sprite | None:
    """The straps alone, or None for cuts that have none."""
    if cut not in _STRAPS:
        return None
    board = _board(cut, px)
    _paint_straps(board, cut)
    return board.sprite()


def _board(cut: MaskCut, px: int) -> Board:
    return Board(-2.6, -0.2, 2.6, 5.6 if cut in ("bandana", "gaiter") else 4.2, px=px)


def _paint_cloth(board: Board, design: MaskDesign) -> None:
    outline = _outline(design)
    cloth = board.filled(outline)
    board.cast_shadow(cloth, reach=0.13, strength=0.42)
    board.paint(cloth, _cloth(board, design) * (_light(board, design) * _hem(board, design, outline))[..., None])
    if design.cut in ("surgical", "ffp2", "duckbill"):
        _nose_clip(board, design, cloth)


def _outline(design: MaskDesign) -> Reals:
    top = spline([(x, y + design.slack * (1 - 0.25 * x)) for x, y in _TOPS[design.cut]], 32)
    bottom = spline([tuple(top[-1]), *_BOTTOMS[design.cut]], 48)
    half = np.concatenate([top, bottom[1:]])
    return np.concatenate([half, half[::-1] * [-1, 1]])


def _top_edge(design: MaskDesign) -> Reals:
    top = spline([(x, y + design.slack * (1 - 0.25 * x)) for x, y in _TOPS[design.cut]], 32)
    return np.concatenate([top[::-1] * [-1, 1], top[1:]])


def _paint_straps(board: Board, cut: MaskCut) -> None:
    width = 0.05 if cut == "surgical" else 0.065
    for strap in _STRAPS.get(cut, []):
        for side in (-1, 1):
            line = spline([(side * x, y) for x, y in strap], 16)
            board.cast_shadow(board.stroke(line, width), reach=0.05, strength=0.45)
            board.paint(board.stroke(line, width), (228, 228, 226))
            board.paint(0.5 * board.stroke(line + np.array([0.012, 0.015]), 0.4 * width), (176, 176, 178))


def _cloth(board: Board, design: MaskDesign) -> Floats:
    """`[H, W, 3]`: colours of the flat cloth."""
    first, second = (np.array(colour, np.float32) for colour in (design.colour, design.second))
    # Cloth that runs round the cheek shows its print narrower there.
    across = np.arcsin(np.clip(board.x / 2.5, -0.98, 0.98)) * np.float32(2.5)
    share = _print(design, across, board.y)[..., None]
    grain = 1 + np.float32(0.05) * weave(across, board.y, 16.0) + np.float32(0.02) * board.noise(0.02, design.seed)
    return np.asarray((first * (1 - share) + second * share) * grain[..., None], np.float32)


def _print(design: MaskDesign, x: Floats, y: Floats) -> Floats:
    """`[H, W]`, 0 … 1: where the second colour is."""
    turn, size, shift = uniform(3, design.seed)
    angle, wide = np.float32(3.14 * turn), np.float32(0.16 + 0.26 * size)
    u = (x * np.cos(angle) + y * np.sin(angle)) / wide + np.float32(shift)
    v = (y * np.cos(angle) - x * np.sin(angle)) / wide
    waves_u, waves_v = np.sin(2 * np.pi * u), np.sin(2 * np.pi * v)
    if design.print == "plain":
        return np.zeros_like(x)
    if design.print == "stripes":
        return _soft(waves_u)
    if design.print == "checks":
        return np.asarray(0.5 * (_soft(waves_u) + _soft(waves_v)), np.float32)
    if design.print == "dots":
        return _soft(waves_u * waves_v - np.float32(0.45))
    return _soft(np.sin(1.9 * u + 1.6 * np.sin(2.3 * v)) * np.sin(2.1 * v + 1.4 * np.cos(1.7 * u)) - np.float32(0.2))


def _soft(waves: Floats) -> Floats:
    return np.asarray(np.clip(0.5 + 5 * waves, 0, 1), np.float32)


def _light(board: Board, design: MaskDesign) -> Floats:
    """`[H, W]`: light on the mask's relief, about 1."""
    x, y = board.x, board.y
    bulge = {"duckbill": 0.75, "ffp2": 0.6}.get(design.cut, 0.4)
    dome = np.sqrt(np.clip(1 - (x / 2.75) ** 2, 0.02, 1)) * np.float32(1.5)
    nose = bulge * np.exp(-((x / 0.75) ** 2) - ((y - 1.5) / 1.05) ** 2)
    chin = np.float32(0.22) * np.exp(-((x / 0.95) ** 2) - ((y - 3.25) / 0.5) ** 2)
    under = np.float32(-0.7) * np.clip(y - 2.95, 0, 1) ** 2 - np.float32(0.8) * np.clip(y - 3.95, 0, 3)
    height = dome + nose + chin + under + _folds(board, design)
    return np.clip(board.shade(np.asarray(height, np.float32)), 0.35, 1.25)


def _folds(board: Board, design: MaskDesign) -> Floats:
    """`[H, W]`: pleats, seams and creases, as heights."""
    x, y = board.x, board.y
    height = np.float32(0.025) * board.noise(0.22, design.seed + 1)
    if design.cut == "surgical":
        for level in (1.42, 1.95, 2.48):
            sag = y - np.float32(level) - np.float32(0.1) * (1 - (x / 2) ** 2)
            height += np.float32(0.055) * np.tanh(-sag / np.float32(0.045)) * np.clip(2.2 - abs(x), 0, 1)
    elif design.cut == "duckbill":
        fold = y - np.float32(2.05) + np.float32(0.05) * x * x
        height -= np.float32(0.36) * np.sqrt(fold * fold + np.float32(0.01))
    elif design.cut in ("ffp2", "cloth"):
        height += np.float32(-0.1) * np.exp(-abs(x) / np.float32(0.035)) - np.float32(0.12) * abs(x)
    else:
        for number in range(5):
            a, b, c = uniform(3, design.seed * 7 + number)
            drape = y - np.float32(2.3 + 0.75 * number * (0.6 + 0.6 * a)) + np.float32(0.35 * (b - 0.2)) * x * x
            height += np.float32(0.05 + 0.05 * c) * np.exp(-((drape / np.float32(0.14)) ** 2))
    return np.asarray(height, np.float32)


def _hem(board: Board, design: MaskDesign, outline: Reals) -> Floats:
    """`[H, W]`: the seam along the edge, and the dark rim where the cloth turns in."""
    closed = np.concatenate([outline, outline[:1]])
    rim = board.blurred(board.stroke(closed, 0.05), 0.03)
    inner = 0.0 if design.cut in ("bandana", "gaiter") else 0.13
    centre = np.array([0.0, 2.1])
    seam = board.blurred(board.stroke(centre + (closed - centre) * 0.94, 0.03), 0.012)
    return np.asarray(1 - 0.3 * rim - inner * seam, np.float32)


def _nose_clip(board: Board, design: MaskDesign, cloth: Floats) -> None:
    edge = _top_edge(design)
    clip = edge[np.abs(edge[:, 0]) < 0.62] + [0, 0.14]
    board.paint(0.22 * board.blurred(board.stroke(clip, 0.09), 0.015) * cloth, (250, 250, 250))
    board.paint(0.25 * board.blurred(board.stroke(clip + np.array([0, 0.06]), 0.03), 0.012) * cloth, (20, 20, 24))
