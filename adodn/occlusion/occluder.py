"""Covers part of a training face with a drawn thing. The same face, numbers and kind always give the same pixels.

    occluder = Occluder(protocols.get("68"), config)
    occlusion = draw_occlusion(config, draws)    # of one face, from `transforms.sample_draws`
    hidden = occluder.cover(crop, landmarks, occlusion)    # changes the crop

Each kind takes its own numbers from the same list, so that kinds can be added without changing the others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.config import AugmentConfig
from adodn.errors import ConfigError
from adodn.occlusion import things
from adodn.occlusion.board import Sprite
from adodn.occlusion.face import Anatomy, mouth_of
from adodn.occlusion.layers import NOTHING, Layer, coloured, lay, placed
from adodn.occlusion.patterns import Patterns
from adodn.occlusion.textures import TILE_PX, tiles
from adodn.protocols import LandmarkProtocol

Reals: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]

NUM_DRAWS = 31
"""Numbers that a drawn thing takes, whatever its kind."""
_WHETHER = 8
"""Place of the first number for occlusion among those of a face; the thing's own follow."""
_WHAT = _WHETHER + 1 + NUM_DRAWS
_LUMA = (0.299, 0.587, 0.114)
# Sides of a patch, as fractions of the crop: about an eye with its brow, up to half of the face.
_PATCH_SIDES = (0.15, 0.5)
_SPRITE_PX = (44, 22, 11)
"""Pixels a face unit, of which the smallest that need not be enlarged is taken."""
_WORN = ("mask", "sunglasses", "scarf", "fringe")
_SKINS = (
    *((1.0, 0.8, 0.7), (0.98, 0.76, 0.62), (0.92, 0.68, 0.52)),
    *((0.8, 0.56, 0.42), (0.6, 0.42, 0.32), (0.9, 0.84, 0.8)),
)
_TONES = np.array(_SKINS) / (np.array(_SKINS) @ _LUMA)[:, None]
"""The same, all equally bright."""
_TINTS = {
    "mask": ((0.62, 0.82, 0.9), (1, 1, 1), (0.17, 0.18, 0.2), (0.6, 0.8, 0.7), (0.95, 0.7, 0.75), (0.35, 0.42, 0.6)),
    "fringe": ((0.16, 0.13, 0.12), (0.3, 0.2, 0.14), (0.46, 0.31, 0.2), (0.85, 0.68, 0.44), (0.62, 0.32, 0.18)),
    "hand": _SKINS,
}
_SPRITES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Occlusion:
    """What covers one face."""

    kind: str
    """One of `adodn.config.Occluder`."""
    numbers: tuple[float, ...]
    """`NUM_DRAWS` numbers from 0 to below 1."""


def draw_occlusion(config: AugmentConfig, draws: Sequence[float]) -> Occlusion | None:
    """What covers one face, or None.

    Whether, how and what have numbers of their own, so that changing one never changes what another does.

    Args:
        config: How often, and what may.
        draws: All numbers of the face, `adodn.data.transforms.NUM_DRAWS` of them, from 0 to below 1.
    """
    if draws[_WHETHER] >= config.occlusion_probability:
        return None
    kind = config.occluders[int(draws[_WHAT] * len(config.occluders))]
    return Occlusion(kind, tuple(draws[_WHETHER + 1 : _WHAT]))


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """A crop to draw on."""

    image: Image
    places: Reals
    """`[L, 2]`: landmarks, pixels of the crop, of which the first spans 0 … 1."""
    draws: tuple[float, ...]

    @property
    def side(self) -> int:
        return len(self.image)

    def light(self) -> tuple[Reals, float, bool]:
        """Mean colour `[3]` of the crop's middle, its luma, and whether the right half is the brighter."""
        edge, step = self.side // 4, max(1, self.side // 16)
        columns = self.image[edge : self.side - edge : step, edge : self.side - edge : step].mean(axis=0)
        lumas = (columns @ _LUMA).tolist()
        half = len(lumas) // 2
        return columns.mean(axis=0), sum(lumas) / len(lumas), sum(lumas[-half:]) > sum(lumas[:half])


class Occluder:
    """Covers faces of one protocol. Safe to use from several threads.

    Args:
        protocol: Any; where its points do not tell eyes and mouth, things are placed by the box around them.
        config: Which kinds it will be asked for.
        patterns: What the kind `pattern` draws from.

    Raises:
        ConfigError: If faces are to be covered by patterns and there are none.
    """

    def __init__(self, protocol: LandmarkProtocol, config: AugmentConfig, patterns: Patterns | None = None) -> None:
        if config.occlusion_probability and "pattern" in config.occluders and patterns is None:
            raise ConfigError(
                "occluder 'pattern' draws from a file of patterns and there is none; make one with `adodn patterns`, "
                "give it to `adodn train --patterns`, or take 'pattern' out of data.augment.occluders"
            )
        self._anatomy = Anatomy.of(protocol)
        self._mouth = list(mouth_of(protocol)) or list(range(protocol.num_landmarks))
        self._patterns = patterns.on(protocol) if patterns is not None else None
        self._own: dict[str, Callable[[_Scene], Layer]] = {
            "patch": _patch,
            "texture": self._texture,
            "pattern": self._pattern,
        }

    def cover(self, image: Image, landmarks: Reals, occlusion: Occlusion) -> NDArray[np.bool_]:
        """Draw over a crop, in place.

        Args:
            image: `[S, S, 3]`, RGB.
            landmarks: `[L, 2]`, fractions of the crop.
            occlusion: What to draw.

        Returns:
            `[L]`, True for landmarks in a pixel that the drawn thing hides by half or more.
        """
        scene = _Scene(image, landmarks * len(image), occlusion.numbers)
        draw = self._own.get(occlusion.kind)
        if draw is not None:
            return lay(image, draw(scene), landmarks)
        layer, gain = self._thing(scene, occlusion.kind)
        return lay(image, layer, landmarks, gain=gain)

    def _thing(self, scene: _Scene, kind: str) -> tuple[Layer, float]:
        """A drawn thing, and how bright it is."""
        skin, luma, right_brighter = scene.light()
        worn = kind in _WORN
        frame = self._anatomy.frame(scene.places, lower=kind in ("mask", "scarf"))
        matrix = _worn(frame, scene.draws) if worn else self._held(frame, scene, kind)
        # Sprites are lit from the left; what is symmetric is turned to the light of the picture.
        if right_brighter if worn else scene.draws[5] < 0.5:
            matrix[:, 0] *= -1
        unit = math.sqrt(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))
        px = next((px for px in reversed(_SPRITE_PX) if px >= unit), _SPRITE_PX[0])
        sprite = _sprite(kind, int(scene.draws[0] * things.VARIANTS), px, _tint(kind, scene.draws[8], skin, luma))
        light = min(max(luma / 125, 0.3), 1.15) * (0.85 + 0.25 * scene.draws[7])
        return placed(sprite, matrix, scene.side), light

    def _held(self, frame: Reals, scene: _Scene, kind: str) -> Reals:
        """Where a thing is held: a cup at the mouth, the others anywhere on the face."""
        _, size, turn, across, down, _, which = scene.draws[:7]
        places = scene.places[self._mouth] if kind == "cup" else scene.places
        spot = places.mean(axis=0) if kind == "cup" else places[int(which * len(places))]
        unit = math.hypot(frame[0, 1], frame[1, 1]) * (0.85 + 0.35 * size)
        lean = {"cup": 0.5, "phone": 1.2, "hand": 2.4}[kind] * (turn - 0.5)
        angle = math.atan2(-frame[0, 1], frame[1, 1]) + lean
        cos, sin = unit * math.cos(angle), unit * math.sin(angle)
        x, y = spot + unit * np.array([across - 0.5, down - 0.3])
        return np.array([[cos, -sin, x], [sin, cos, y]])

    def _texture(self, scene: _Scene) -> Layer:
        """A blob, disc or rectangle of texture somewhere on the face."""
        _, _, _, where_x, where_y, width, height, turn, corners, blur = scene.draws[:10]
        low, high = scene.places.min(axis=0), scene.places.max(axis=0)
        centre = low + (high - low) * (where_x, where_y)
        half = scene.side * (0.06 + 0.2 * np.array([width, height]))
        angles = np.linspace(0, 2 * math.pi, 32, endpoint=False)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if corners < 0.35:
            ring = ring / np.abs(ring).max(axis=1, keepdims=True)
        elif corners < 0.75:
            depths, phases, counts = np.array(scene.draws[20:24]), np.array(scene.draws[24:28]), np.arange(2, 6)
            ring *= 1 + 0.22 * np.sin(angles[:, None] * counts + 6.28 * phases) @ depths[:, None]
        cos, sin = math.cos(6.28 * turn), math.sin(6.28 * turn)
        outline = centre + (ring * half) @ np.array([[cos, sin], [-sin, cos]])
        x0, y0, x1, y1 = _within(outline, scene.side, margin=3)
        if x0 >= x1 or y0 >= y1:
            return NOTHING
        opacity = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(opacity, [np.rint((outline - (x0 + 0.5, y0 + 0.5)) * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
        if blur < 0.5:
            opacity = cv2.blur(opacity, (5, 5))
        return _in_texture(scene, opacity, x0, y0)

    def _pattern(self, scene: _Scene) -> Layer:
        """Blobs over those points that are hidden together on a real face."""
        assert self._patterns is not None, "checked when the occluder was made"
        frame = self._anatomy.frame(scene.places)
        unit = math.hypot(frame[0, 1], frame[1, 1])
        hidden, shown = self._patterns.points(scene.draws[0], scene.places, frame)
        wide = unit * (0.8 + 0.4 * scene.draws[1])
        x0, y0, x1, y1 = _within(hidden, scene.side, margin=math.ceil(wide))
        if x0 >= x1 or y0 >= y1:
            return NOTHING
        opacity = _blobs(hidden - (x0, y0), shown - (x0, y0), (x1 - x0, y1 - y0), wide)
        return _in_texture(scene, opacity, x0, y0)


_WHITE = (1.0, 1.0, 1.0)


@lru_cache(maxsize=_SPRITES_KEPT)
def _sprite(kind: str, variant: int, px: int, tint: tuple[float, float, float]) -> Sprite:
    """Kept, because drawing one takes far longer than laying it over a face."""
    return things.DRAWN[kind](variant, px) if tint == _WHITE else _sprite(kind, variant, px, _WHITE).tinted(tint)


def _worn(frame: Reals, draws: tuple[float, ...]) -> Reals:
    """The face's own frame, with the thing a little askew."""
    _, size, turn, across, down = draws[:5]
    zoom, angle = 0.95 + 0.12 * size, 0.12 * (turn - 0.5)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    askew = np.array([[cos, -sin, 0.16 * (across - 0.5)], [sin, cos, 0.16 * (down - 0.5)], [0, 0, 1]])
    return np.asarray(frame @ askew)


def _tint(kind: str, draw: float, skin: Reals, luma: float) -> tuple[float, float, float]:
    """The thing's own colour, one of few, so that tinted sprites can be kept."""
    if kind == "hand" and draw < 0.7:
        # Mostly the person's own hand: the tone that is nearest to the face's.
        nearest = ((_TONES - skin / max(luma, 1.0)) ** 2).sum(axis=1).argmin()
        return _SKINS[int(nearest)]
    tints = _TINTS.get(kind, (_WHITE,))
    return tints[int(draw * len(tints))]


def _within(points: Reals, side: int, *, margin: int) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1): whole pixels around points, as far as they lie in the crop."""
    if not len(points):
        return 0, 0, 0, 0
    low, high = np.floor(points.min(axis=0)) - margin, np.ceil(points.max(axis=0)) + margin
    (x0, y0), (x1, y1) = low.clip(0, side).astype(int).tolist(), high.clip(0, side).astype(int).tolist()
    return x0, y0, x1, y1


def _in_texture(scene: _Scene, opacity: Image, x: int, y: int) -> Layer:
    """What is opaque, in a random piece of a random tile, between two random colours."""
    height, width = opacity.shape
    number, left, top, contrast = scene.draws[10:14]
    tile = tiles()[int(number * len(tiles()))]
    left_px, top_px = int(left * (TILE_PX - width + 1)), int(top * (TILE_PX - height + 1))
    first = [255 * draw for draw in scene.draws[14:17]]
    share = 0.2 + 0.8 * contrast
    second = [near + share * (255 * far - near) for near, far in zip(first, scene.draws[17:20], strict=True)]
    piece = np.ascontiguousarray(tile[top_px : top_px + height, left_px : left_px + width])
    return coloured(piece, opacity, first, second, x, y)


_COARSE = 4
_STEEP = np.clip((np.arange(256) - 90) * 6 + 128, 0, 255).astype(np.uint8)
"""Smooth blobs to blobs with an edge."""


def _blobs(hidden: Reals, shown: Reals, size: tuple[int, int], wide: float) -> Image:
    """`[h, w]`: discs about hidden points, cut back from shown ones and run together."""
    width, height = -(-size[0] // _COARSE) + 1, -(-size[1] // _COARSE) + 1
    coarse = np.zeros((height, width), np.uint8)
    for points, level, share in ((hidden, 255, 1.0), (shown, 0, 0.36)):
        dots = np.rint(points.clip(-4 * wide, 4 * max(size)) / _COARSE * 16 - 8).astype(np.int32)
        pairs = np.repeat(dots[:, None], 2, axis=1)
        cv2.polylines(coarse, list(pairs), False, (level,), max(1, round(share * wide / _COARSE)), cv2.LINE_8, 4)
    soft = max(0.14 * wide / _COARSE, 0.3)
    window = 2 * math.ceil(2 * soft) + 1
    coarse = cv2.GaussianBlur(coarse, (window, window), soft)
    fine = cv2.resize(coarse, None, fx=_COARSE, fy=_COARSE, interpolation=cv2.INTER_LINEAR)
    opacity: Image = cv2.LUT(np.ascontiguousarray(fine[: size[1], : size[0]]), _STEEP)
    return opacity


def _patch(scene: _Scene) -> Layer:
    """A rectangle of one colour anywhere in the crop."""
    least, most = _PATCH_SIDES
    width, height = (least + (most - least) * draw for draw in scene.draws[:2])
    x, y = scene.draws[2] * (1 - width), scene.draws[3] * (1 - height)
    x0, y0, x1, y1 = (round(edge * scene.side) for edge in (x, y, x + width, y + height))
    colour = [int(256 * draw) for draw in scene.draws[4:7]]
    size = (y1 - y0, x1 - x0)
    return Layer(np.full((*size, 3), colour, np.uint8), np.full(size, 255, np.uint8), x0, y0)
