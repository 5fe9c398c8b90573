"""Tiles of procedural texture: noise, stripes, checks, dots and cloth, sharp and blurred. They have no colour.

tile = tiles()[3]    # [TILE_PX, TILE_PX], uint8: a share between two colours
"""

from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.occlusion.board import Floats, raw_noise

Image: TypeAlias = NDArray[np.uint8]

TILE_PX = 512


def weave(x: Floats, y: Floats, threads: float) -> Floats:
    """`[H, W]`, -1 … 1: threads over and under each other, so many a unit."""
    u, v = np.float32(np.pi * threads) * x, np.float32(np.pi * threads) * y
    return np.asarray(np.sin(u) * np.cos(v) * np.sign(np.sin(0.5 * u) * np.sin(0.5 * v)), np.float32)


@cache
def tiles() -> tuple[Image, ...]:
    """All tiles `[TILE_PX, TILE_PX]`, 0 … 255; the same on every machine, but for a level where libraries round."""
    rows, columns = np.mgrid[:TILE_PX, :TILE_PX].astype(np.float32)
    fields = [_noise(sigma, number) for number, sigma in enumerate((0.0, 1.2, 3.0, 8.0, 20.0))]
    warp = 14 * _noise(24.0, 9)
    for period, angle in ((7, 0.4), (16, 1.2), (34, 2.3), (22, 0.0)):
        waves = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * np.float32(2 * np.pi / period))
        fields += [np.clip(4 * waves, -1, 1)]
    fields.append(np.sign(np.sin(columns * np.float32(np.pi / 18)) * np.sin(rows * np.float32(np.pi / 18))))
    fields.append(0.5 * (np.sign(np.sin(columns * 0.2)) + np.sign(np.sin(rows * 0.2))))
    fields.append(np.clip(5 * (np.sin(columns * 0.3) * np.sin(rows * 0.3) - 0.45), -1, 1))
    fields.append(np.sin((columns + 3 * warp) * 0.11) * np.cos((rows - 2 * warp) * 0.05))
    fields.append(weave(columns, rows, 0.16) + 0.5 * fields[2])
    fields.append(np.clip(2.5 * fields[3], -1, 1) + 0.25 * fields[1])
    sharp = [_grey(field) for field in fields]
    return (*sharp, *(cv2.GaussianBlur(tile, (0, 0), 4.0) for tile in sharp[5:12]))


def _noise(sigma: float, seed: int) -> Floats:
    field = raw_noise(TILE_PX, TILE_PX, 100 + seed)
    smooth = cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) if sigma else field
    return np.asarray((smooth - smooth.mean()) / (2 * smooth.std()), np.float32)


def _grey(field: Floats) -> Image:
    grain = 4 * (raw_noise(TILE_PX, TILE_PX, 99) - 0.5)
    return np.clip(np.rint(127.5 + 110 * field + grain), 0, 255).astype(np.uint8)
