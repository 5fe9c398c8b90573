"""Things in front of the face: hands, glasses, objects and strands of hair, drawn on the picture with an exact mask.

Cloth that is worn on the face is in `worn.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering.brush import brush, mark, shapes
from adodn.datasets.rendering.camera import Camera
from adodn.datasets.rendering.features import curve
from adodn.datasets.rendering.light import Light
from adodn.datasets.rendering.person import Person, rgb
from adodn.datasets.rendering.rasteriser import Raster
from adodn.datasets.rendering.worn import WORN, Worn, wear

__all__ = ["OCCLUDERS", "Stage", "Worn", "draw_occluder", "pick_occluder", "wear"]

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stage:
    """The picture so far, and what is known of the face in it."""

    image: Image
    covered: Image
    """`[S, S]`: 255 where an occluder hides what is behind it."""
    camera: Camera
    raster: Raster
    """What each pixel shows of the head."""
    landmarks: Reals
    person: Person
    light: Light
    yaw_deg: float
    _parts: list[tuple[Reals, NDArray[np.floating], float, bool]] = field(default_factory=list)
    """Shapes that wait to be drawn."""

    def fill(self, outline: Reals, colour: NDArray[np.floating]) -> None:
        """A filled outline `[N, 2]`, pixels."""
        self._parts.append((outline, colour, 0.0, True))

    def line(self, points: Reals, colour: NDArray[np.floating], width: float, *, hides: bool = True) -> None:
        """An open line `[N, 2]` with round ends, `width` in pixels."""
        self._parts.append((points, colour, max(1.0, width), hides))

    def draw(self) -> None:
        """Draw what waits, all at once."""
        outlines, colours, widths, hides = zip(*self._parts, strict=True)
        points, what = np.concatenate(outlines).T.copy(), shapes([len(outline) for outline in outlines], widths)
        paints = np.ones((len(colours), 4), np.float32)
        paints[:, :3] = np.clip(colours, 0, 255)
        brush(self.image, points, what, paints)
        mark(self.covered, points, what, np.array(hides))
        self._parts.clear()

    @property
    def exposure(self) -> Floats:
        """`[3]`: how brightly a thing that faces the camera is lit."""
        return self.light.ambient * np.float32(0.9) + self.light.lamp * np.float32(0.7)


def pick_occluder(rng: np.random.Generator, *, hard: bool, turned: bool) -> str:
    """Name of what covers the face: seldom anything in easy photos; mostly something in hard ones, less if turned."""
    share = (0.45 if turned else 0.9) if hard else 0.15
    if rng.random() < share:
        names = tuple(DRAWN) + WORN
        return [name for name in names if name != "clear_glasses"][int(rng.integers(len(names) - 1))]
    return "clear_glasses" if rng.random() < 0.16 else "none"


def draw_occluder(stage: Stage, name: str, rng: np.random.Generator) -> None:
    """Draw what is not worn; worn cloth and `none` leave the stage as it is."""
    if name in DRAWN:
        DRAWN[name](stage, rng)
        stage.draw()


def _place(stage: Stage, rng: np.random.Generator, *, low: bool = False) -> Reals:
    """A spot of the face to cover; `low` keeps to mouth and chin."""
    spots = [(48, 55), (6, 11)] if low else [(48, 55), (6, 11), (31, 36), (36, 42), (42, 48), (2, 6), (11, 15)]
    first, last = spots[int(rng.integers(len(spots)))]
    return np.asarray(stage.landmarks[first:last].mean(0) + rng.normal(0, 6, 2) * stage.camera.scale)


def _turn(points: Reals, angle: float) -> Reals:
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


def _circle(count: int = 28) -> Reals:
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], 1)


def _rounded(width: float, height: float, corner: float) -> Reals:
    """Outline of a rectangle with round corners around the origin."""
    circle = _circle(24) * corner
    return np.asarray(circle + np.sign(circle + 1e-9) * [width / 2 - corner, height / 2 - corner])


def _hand(stage: Stage, rng: np.random.Generator) -> None:
    """Palm and fingers that come from below or from one side."""
    unit = stage.camera.scale
    tip, angle = _place(stage, rng), rng.uniform(-0.9, 0.9)
    side = (-1.0, 1.0)[rng.integers(2)]
    skin = stage.person.skin * stage.exposure
    dark, bright = skin * rgb(0.62, 0.52, 0.5), skin * np.float32(1.06)
    palm = _turn(
        np.array(
            [(-38, 40), (-40, 10), (-30, -4), (0, -8), (30, -2), (40, 14), (36, 44), (28, 150), (-28, 150)], float
        ),
        angle,
    )
    stage.fill(tip + unit * palm, skin * np.float32(0.94))
    spread = rng.uniform(0.02, 0.16)
    for finger, (x, length) in enumerate(((-30.0, 52), (-10.0, 64), (11.0, 60), (31.0, 46))):
        lean = (finger - 1.5) * spread
        bend = rng.uniform(0.85, 1.05)
        points = np.array(
            [(x, 22), (x + 0.5 * length * lean, -0.5 * length), (x + length * lean * 1.2, -length * bend)]
        )
        at = tip + unit * _turn(points, angle)
        stage.line(at, dark, 20.5 * unit)
        stage.line(at, skin, 17.5 * unit)
        stage.line(at - [0.8, 0.6], bright, 7 * unit, hides=False)
        stage.line(at[-1:] + np.array([[0, 0], [0, 0.1]]), skin * rgb(1.08, 0.96, 0.94), 9 * unit, hides=False)
    thumb = tip + unit * _turn(np.array([(side * 26, 46), (side * 52, 22), (side * 60, -6)], float), angle)
    stage.line(thumb, dark, 23 * unit)
    stage.line(thumb, skin, 20 * unit)


def _cup(stage: Stage, rng: np.random.Generator) -> None:
    unit, at = stage.camera.scale, _place(stage, rng, low=True)
    colour = rng.uniform(30, 245, 3) * stage.exposure
    angle = rng.normal(0, 0.25)
    body = np.array([(-40, -34), (40, -34), (32, 68), (-32, 68)], float)
    side = (-1.0, 1.0)[rng.integers(2)]
    handle = curve(np.array([(side * 38, -14), (side * 64, -12), (side * 62, 34), (side * 34, 42)], float))
    stage.line(at + unit * _turn(handle, angle), colour * 0.8, 9 * unit)
    stage.fill(at + unit * _turn(body, angle), colour)
    for x, share in ((-28, 0.75), (-14, 1.0), (2, 1.18), (18, 1.05), (30, 0.8)):
        strip = np.array([(x - 8, -34), (x + 8, -34), (0.8 * (x + 8), 68), (0.8 * (x - 8), 68)], float)
        stage.fill(at + unit * _turn(strip, angle), colour * share)
    rim = _circle() * [40, 8] + [0, -34]
    stage.fill(at + unit * _turn(rim, angle), colour * 0.62)


def _phone(stage: Stage, rng: np.random.Generator) -> None:
    unit, at = stage.camera.scale, _place(stage, rng)
    angle = rng.normal(0, 0.5)
    case = rng.uniform(10, 80, 3) if rng.random() < 0.6 else rng.uniform(60, 240, 3)
    stage.fill(at + unit * _turn(_rounded(74, 150, 10), angle), case * stage.exposure * 0.6)
    stage.fill(at + unit * _turn(_rounded(70, 146, 9), angle), case * stage.exposure)
    stage.fill(at + unit * _turn(_rounded(24, 24, 6) + np.array([-18, -54]), angle), np.array([30.0, 30, 34]))
    for x, y in ((-23, -59), (-13, -49)):
        stage.fill(at + unit * _turn(_circle(10) * 4 + [x, y], angle), np.array([8.0, 8, 14]))


def _ball(stage: Stage, rng: np.random.Generator) -> None:
    unit, at = stage.camera.scale, _place(stage, rng)
    radius, colour = rng.uniform(26, 58), rng.uniform(40, 250, 3) * stage.exposure
    lamp = stage.light.direction[:2]
    for share in np.linspace(0, 1, 7):
        centre = at + unit * radius * 0.45 * share * lamp
        stage.fill(centre + unit * radius * (1 - 0.8 * share) * _circle(), colour * (0.55 + 0.6 * share))


def _book(stage: Stage, rng: np.random.Generator) -> None:
    unit, at = stage.camera.scale, _place(stage, rng, low=True)
    at = at + np.array([0, 34 * unit])
    angle, colour = rng.normal(0, 0.2), rng.uniform(20, 220, 3) * stage.exposure
    stage.fill(at + unit * _turn(_rounded(190, 132, 3), angle), colour * 0.55)
    for sign in (-1, 1):
        cover = np.array([(0, -58), (sign * 92, -64), (sign * 92, 64), (0, 66)], float)
        stage.fill(at + unit * _turn(cover, angle), colour * (1.0 if sign < 0 else 0.86))
        for line in range(int(rng.integers(1, 4))):
            bar = np.array([(sign * 22, -30 + 22 * line), (sign * 74, -31 + 22 * line)], float)
            stage.line(at + unit * _turn(bar, angle), 255 - 0.8 * colour, 6 * unit)


def _microphone(stage: Stage, rng: np.random.Generator) -> None:
    unit, at = stage.camera.scale, _place(stage, rng, low=True)
    lean = rng.normal(0, 0.5)
    stage.line(at + unit * _turn(np.array([(0, 20), (0, 190)], float), lean), np.array([34.0, 34, 38]), 26 * unit)
    for share in np.linspace(0, 1, 5):
        stage.fill(
            at + unit * (26 - 18 * share) * _circle() - unit * 6 * share, np.full(3, 60 + 70 * share) * stage.exposure
        )


def _strands(stage: Stage, rng: np.random.Generator) -> None:
    """Locks of hair that hang from above over one side of the face."""
    unit, size = stage.camera.scale, stage.image.shape[0]
    brow = stage.landmarks[[17, 26]]
    up = np.array([brow[1, 1] - brow[0, 1], brow[0, 0] - brow[1, 0]])
    up = up / (np.linalg.norm(up) + 1e-9)
    across = (brow[1] - brow[0]) / (np.linalg.norm(brow[1] - brow[0]) + 1e-9)
    middle, start = brow.mean(0) + 62 * unit * up, float(rng.uniform(-50, 20))
    tone = stage.person.hair * stage.exposure
    sweep, usual = rng.normal(0, 16), rng.uniform(70, 190)
    for lock in range(int(rng.integers(5, 11))):
        x = start + 7.5 * lock
        length, bend = usual * rng.uniform(0.75, 1.15), sweep + rng.normal(0, 3)
        knots = [(0.5 * x, 0), (x, 40), (x + bend, 0.6 * length), (x + 0.6 * bend, length)]
        path = curve(np.array([middle + unit * (a * across - b * up) for a, b in knots]), 5)
        stage.line(path, tone * 0.8, 9 * unit)
        for offset in rng.uniform(-4, 4, 5):
            stage.line(path + unit * offset * across, tone * rng.uniform(0.7, 1.45), size / 160, hides=False)


def _lenses(stage: Stage, rng: np.random.Generator) -> list[tuple[Reals, float]]:
    """For each lens: outline in pixels, and its height towards the camera."""
    half_width, half_height, square = rng.uniform(23, 28), rng.uniform(16, 23), rng.uniform(2.2, 5)
    turn = _circle(32)
    shape = np.sign(turn) * np.abs(turn) ** (2 / square) * [half_width, half_height]
    lenses = []
    for sign in (-1.0, 1.0):
        x, y = shape[:, 0] + sign * 32, shape[:, 1] + 3
        z = 9 - 0.0062 * x**2
        pixels, height = stage.camera.project(np.stack([x, y, z]))
        lenses.append((np.asarray(pixels.T), float(np.mean(height))))
    return lenses


def _frame(stage: Stage, lenses: list[tuple[Reals, float]], colour: NDArray[np.floating], width: float) -> None:
    """Rims, bridge, and the arm on each side that can be seen."""
    for outline, _ in lenses:
        stage.line(np.concatenate([outline, outline[:1]]), colour, width, hides=False)
    bridge = stage.camera.outline(np.array([(-9, -2, 10), (0, -5, 13), (9, -2, 10)], float))
    stage.line(bridge, colour, width, hides=False)
    for sign in (-1.0, 1.0):
        if sign * stage.yaw_deg < 12:
            arm = stage.camera.outline(np.array([(sign * 59, -4, -14), (sign * 79, -6, -98)], float))
            stage.line(arm, colour, width, hides=False)


def _clear_glasses(stage: Stage, rng: np.random.Generator) -> None:
    lenses = _lenses(stage, rng)
    colour = rng.uniform(5, 70, 3) if rng.random() < 0.7 else rng.uniform(60, 200, 3)
    _frame(stage, lenses, colour, rng.uniform(1.0, 2.4) * stage.image.shape[0] / 160)


def _sunglasses(stage: Stage, rng: np.random.Generator) -> None:
    """Dark lenses; the far one goes behind the nose of a turned head."""
    lenses = _lenses(stage, rng)
    tint = rng.uniform(4, 50, 3)
    for outline, height in lenses:
        before = stage.image.copy()
        hidden = stage.covered.copy()
        stage.fill(outline, tint)
        shine = outline.mean(0) + 0.6 * (outline[16:28] - outline.mean(0)) - [0, 0.8]
        stage.line(shine, tint + 40, 1.5, hides=False)
        stage.draw()
        if abs(stage.yaw_deg) > 25:
            nose = stage.raster.height > height + 9
            stage.image[nose], stage.covered[nose] = before[nose], hidden[nose]
    _frame(stage, lenses, rng.uniform(0, 60, 3), 1.6 * stage.image.shape[0] / 160)


DRAWN: dict[str, Callable[[Stage, np.random.Generator], None]] = {
    "sunglasses": _sunglasses,
    "clear_glasses": _clear_glasses,
    "hand": _hand,
    "cup": _cup,
    "phone": _phone,
    "ball": _ball,
    "book": _book,
    "microphone": _microphone,
    "hair": _strands,
}
OCCLUDERS = ("none", *DRAWN, *WORN)
