"""Cloth worn on the face: masks and scarves. It is painted on the unrolled head and stands off the skin, so that it
turns, wraps and shades with the head. Held things and glasses are in `occluders.py`.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.paint import Texture, to_texture
from adodn.datasets.rendering.person import Colour
from adodn.datasets.rendering.shape import AXIS_Z, COLUMNS, FACE_ROWS, ROWS, head_sheet

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]

WORN = ("surgical_mask", "cloth_mask", "scarf")
_DEGREES = np.array([0, 8, 16, 28, 45, 65, 80, 92.0])
_MASK_TOP = np.array([12, 15, 22, 27, 27, 24, 20, 16.0])
_MASK_LAST_DEG = 93.0
_SURGICAL = np.array([(150, 196, 214), (206, 222, 232), (232, 234, 236), (120, 170, 160), (40, 42, 46)], np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Worn:
    """One piece of cloth. Rows are of the sheet, one for each of its columns that it covers."""

    name: str
    columns: NDArray[np.int64]
    top: Reals
    bottom: Reals
    colour: Colour
    second: Colour
    pleats: int

    def put_on(self, vertices: Floats, texture: Texture, cloth: NDArray[np.uint8], detail: int) -> Floats:
        """Paint it on `texture`, mark it in `cloth` (255), and return vertices that stand off the skin below it."""
        places = np.stack([self.columns, self.top], 1), np.stack([self.columns, self.bottom], 1)
        outline = to_texture(np.concatenate([places[0], places[1][::-1]]), detail)
        cv2.fillPoly(cloth, [outline], (255,), cv2.LINE_8, 4)
        cv2.fillPoly(texture, [outline], self.colour.tolist(), cv2.LINE_AA, 4)
        for share in np.linspace(0, 1, self.pleats + 2)[1:-1]:
            row = self.top + share * (self.bottom - self.top)
            line = to_texture(np.stack([self.columns, row], 1), detail)
            cv2.polylines(texture, [line], False, self.second.tolist(), max(1, detail // 3), cv2.LINE_AA, 4)
        if self.name == "surgical_mask":
            self._loops(texture, detail)
        return self._raised(vertices)

    def _loops(self, texture: Texture, detail: int) -> None:
        """Bands from the mask's corners to the ears."""
        for end, step in ((0, -1), (-1, 1)):
            for row in (self.top[end] + 0.4, self.bottom[end] - 0.4):
                start = [self.columns[end], row]
                band = to_texture(np.array([start, [start[0] + 2.5 * step, (row + self.top[end]) / 2]]), detail)
                cv2.polylines(texture, [band], False, (235, 235, 235), 1, cv2.LINE_AA, 4)

    def _raised(self, vertices: Floats) -> Floats:
        """Cloth is stretched over the nose and does not follow every hollow."""
        rows = np.arange(ROWS)
        inside = np.zeros((COLUMNS, ROWS), np.float32)
        below, above = rows - self.top[:, None], self.bottom[:, None] - rows
        inside[self.columns] = np.clip(np.minimum(below, above) / 1.5, 0, 1)
        degrees = np.abs(np.degrees(head_sheet().angles))[:, None]
        inside[:, :FACE_ROWS] *= np.clip((74 - degrees) / 20, 0, 1)  # the outline of the face stays where it is
        x, y, z = vertices
        z = z - np.float32(AXIS_Z)
        radius = np.sqrt(x * x + z * z) + np.float32(1e-3)
        stretched = np.maximum(radius + 2, cv2.GaussianBlur(radius, (0, 0), sigmaX=1.5, sigmaY=3.5) + 3)
        if self.name == "scarf":
            stretched[:, FACE_ROWS:] = np.maximum(stretched[:, FACE_ROWS:], 84)
            stretched += 5
        scale = 1 + (stretched / radius - 1) * inside
        return np.stack([x * scale, y, z * scale + np.float32(AXIS_Z)])


@cache
def _chin_rows() -> Reals:
    """`[C]`: the row at which a mask ends: under the jaw in front, at the ear lobe on the sides."""
    sheet = head_sheet()
    degrees = np.abs(np.degrees(sheet.angles))
    lobe = sheet.rows_at(np.full(COLUMNS, 42.0))
    share = np.clip((degrees - 55) / 36, 0, 1)
    return np.asarray((1 - share) * (FACE_ROWS + 0.6) + share * lobe)


def wear(name: str, rng: np.random.Generator) -> Worn | None:
    """A random piece of cloth of that name; None if it names something that is not worn."""
    if name not in WORN:
        return None
    sheet = head_sheet()
    degrees = np.abs(np.degrees(sheet.angles))
    drop = 24.0 if rng.random() < 0.15 else float(rng.normal(0, 3))
    if name == "scarf":
        columns = np.arange(COLUMNS)
        level = float(rng.choice([26.0, 58.0, 92.0], p=[0.4, 0.4, 0.2]))
        y = level + rng.normal(0, 3) - np.clip(degrees / 95, 0, 1) * min(12.0, level - 14)
        bottom = np.full(COLUMNS, ROWS + 1.0)
    else:
        columns = np.flatnonzero(degrees < _MASK_LAST_DEG)
        y = np.interp(degrees, _DEGREES, _MASK_TOP) + drop
        bottom = _chin_rows()
    top = sheet.rows_at(y)
    colour = (
        _SURGICAL[rng.integers(len(_SURGICAL))]
        if name == "surgical_mask"
        else rng.uniform(20, 235, 3).astype(np.float32)
    )
    pleats = {"surgical_mask": 3, "cloth_mask": int(rng.integers(0, 2)), "scarf": int(rng.integers(3, 9))}[name]
    contrast = 0.82 if name == "surgical_mask" else float(rng.uniform(0.5, 1.3))
    return Worn(
        name=name,
        columns=columns,
        top=top[columns],
        bottom=bottom[columns],
        colour=colour,
        second=np.clip(colour * np.float32(contrast), 0, 255),
        pleats=pleats,
    )
