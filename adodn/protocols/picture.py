"""A numbered picture of each built-in protocol on a drawn face, for the documentation.

Filled points are landmarks of the drawn face itself; rings are points that the drawn face does not have and that
`placing` puts between or beside them. Not for faces of people, nor for results: that is `adodn.plots`.

    python -m adodn.protocols.picture docs/protocols
"""

import io
import sys
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from adodn.datasets.rendering.person import Moment, draw_person, rgb
from adodn.datasets.rendering.scene import draw
from adodn.protocols.definitions import BUILT_IN
from adodn.protocols.layout import LandmarkProtocol
from adodn.protocols.placing import place

Reals = NDArray[np.float64]

SIDE_PX = 1200
CAPTION_PX = 76
_OVERSAMPLING = 2
"""Drawn this much larger and shrunk: Pillow's lines and dots have hard edges."""
_FACE_SHARE = 0.82
"""Of the picture's side that the face's points take."""
_FONT_PX, _DOT_PX, _LABEL_GAP_PX = 19, 5, 8
_FACE_COLOURS = 64
_SEED = 11

# Okabe and Ito's colours, darkened to stand out from skin.
_COLOURS = ("#00507a", "#b04700", "#006b4f", "#9c3f75", "#7a5c00", "#1d6f9e", "#b00020")
_UP, _DOWN, _RIGHT, _LEFT = (0.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0)
_LABEL_SIDE = {
    "right_brow": _UP,
    "left_brow": _UP,
    "right_eye": _DOWN,
    "left_eye": _DOWN,
    "nose_base": _DOWN,
    "nose": _DOWN,
    "mouth": _DOWN,
    "chin": _DOWN,
    "right_ear": _LEFT,
    "right_nose_side": (-1.0, -0.9),
    "left_nose_side": (1.0, -0.9),
    "right_eye_centre": _LEFT,
    "left_eye_centre": _LEFT,
}
"""Where the numbers of an open part go; right of the point where it is not listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A landmark's number in the picture."""

    point: int
    at: tuple[float, float]
    """Of the landmark, pixels."""
    middle: tuple[float, float]
    """Of the number, pixels."""
    box: tuple[float, float, float, float]
    """(x0, y0, x1, y1) of the number, pixels."""
    is_drawn: bool
    """Whether the drawn face itself has this landmark."""


def picture(protocol: LandmarkProtocol) -> bytes:
    """PNG of `SIDE_PX` × `SIDE_PX + CAPTION_PX`: the face, the parts' lines, and every point with its number.

    Args:
        protocol: A built-in one.

    Raises:
        ConfigError: If it is not built in.
    """
    canvas = _canvas()
    pen, entries = ImageDraw.Draw(canvas), labels(protocol)
    for place_in_order, (part, points) in enumerate(protocol.parts.items()):
        colour = _COLOURS[place_in_order % len(_COLOURS)]
        line = [_scaled(entries[point].at) for point in points]
        if part in protocol.closed_parts:
            line.append(line[0])
        if len(line) > 1:
            pen.line(line, fill=colour, width=_OVERSAMPLING * 2, joint="curve")
    for place_in_order, points in enumerate(protocol.parts.values()):
        for point in points:
            _draw_point(pen, entries[point], _COLOURS[place_in_order % len(_COLOURS)])
    _draw_caption(pen, protocol, entries)
    return _png(canvas)


def labels(protocol: LandmarkProtocol) -> list[Label]:
    """Where each number of a built-in protocol's picture stands, in the order of the points.

    Raises:
        ConfigError: If the protocol is not built in.
    """
    _, landmarks = _face()
    points = place(protocol.name, landmarks)
    directions = _directions(protocol, points)
    known = np.linalg.norm(points[:, None] - landmarks[None], axis=2).min(1) < 0.5
    return [_label(i, points[i], directions[i], bool(known[i])) for i in range(len(points))]


def write_all(folder: Path) -> list[Path]:
    """Write `protocol-NAME.png` for each built-in protocol.

    Args:
        folder: Made where it is missing.

    Returns:
        The files, in the order of the protocols.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"protocol-{protocol.name}.png" for protocol in BUILT_IN]
    for path, protocol in zip(paths, BUILT_IN, strict=True):
        path.write_bytes(picture(protocol))
    return paths


def _directions(protocol: LandmarkProtocol, points: Reals) -> Reals:
    """`[L, 2]`, unit: from each point to its number, away from lines."""
    directions = np.zeros_like(points)
    for part, members in protocol.parts.items():
        chosen = list(members)
        if part == "jaw":
            directions[chosen] = points[chosen] - points.mean(0)
        elif part in protocol.closed_parts:
            directions[chosen] = _outwards(points[chosen]) * (-1 if part == "inner_lips" else 1)
        else:
            directions[chosen] = _LABEL_SIDE.get(part, _RIGHT)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _outwards(outline: Reals) -> Reals:
    """`[N, 2]`: across the outline at each of its points, away from its inside."""
    along = np.roll(outline, -1, 0) - np.roll(outline, 1, 0)
    across = np.stack([along[:, 1], -along[:, 0]], 1)
    following = np.roll(outline, -1, 0)
    area = (outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum()
    return np.asarray(across * np.sign(area))


def _label(point: int, at: Reals, direction: Reals, is_drawn: bool) -> Label:
    left, top, right, bottom = _font().getbbox(str(point), anchor="mm")
    width, height = (right - left) / _OVERSAMPLING, (bottom - top) / _OVERSAMPLING
    # As far as it takes for the number's box to stand clear of the dot.
    reach = _LABEL_GAP_PX + min(
        width / 2 / max(abs(direction[0]), 1e-6),
        height / 2 / max(abs(direction[1]), 1e-6),
    )
    x, y = at + direction * reach
    return Label(
        point=point,
        at=(float(at[0]), float(at[1])),
        middle=(float(x), float(y)),
        box=(float(x - width / 2), float(y - height / 2), float(x + width / 2), float(y + height / 2)),
        is_drawn=is_drawn,
    )


@cache
def _face() -> tuple[NDArray[np.uint8], Reals]:
    """A pale face `[S, S, 3]` that looks at us with its mouth open, and its 68 landmarks `[68, 2]` in it."""
    person = draw_person(np.random.default_rng(_SEED))
    plain = replace(
        person,
        traits=person.traits * np.float32(0.35),
        hair_style="short",
        beard=0.0,
        moustache=0.0,
        eye_size=1.2,
        brow_height=0.0,
        brow_arch=0.0,
        age=0.1,
        skin=rgb(236, 194, 170),
    )
    drawn = draw(plain, _moment(), "none", np.random.default_rng(_SEED), size_px=512, hard=False)
    return _enlarged(drawn.image, drawn.landmarks)


def _moment() -> Moment:
    return Moment(
        expression="talk",
        weights=np.array([17.0, 0.2, 0.0, 0.0, 0.0], np.float32),
        lids=(1.15, 1.15),
        brow_raise=(2.0, 2.0),
        gaze=(0.0, 0.0),
        yaw_deg=0.0,
        pitch_deg=0.0,
        roll_deg=0.0,
    )


def _enlarged(image: NDArray[np.uint8], landmarks: Reals) -> tuple[NDArray[np.uint8], Reals]:
    low, high = landmarks.min(0), landmarks.max(0)
    scale = _FACE_SHARE * SIDE_PX / float((high - low).max())
    shift = SIDE_PX / 2 - scale * (low + high) / 2
    matrix = np.column_stack([np.eye(2) * scale, shift])
    smooth = cv2.bilateralFilter(image, 9, 40, 5)
    large = cv2.warpAffine(smooth, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    grey = large.mean(2, keepdims=True)
    pale = 0.5 * 255 + 0.5 * (0.5 * large + 0.5 * grey)
    return pale.round().astype(np.uint8), landmarks * scale + shift


def _canvas() -> Image.Image:
    face = Image.fromarray(_face()[0]).resize((SIDE_PX * _OVERSAMPLING,) * 2, Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (face.width, face.height + CAPTION_PX * _OVERSAMPLING), "white")
    canvas.paste(face)
    return canvas


@cache
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(_FONT_PX * _OVERSAMPLING)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("numbers need a Pillow that was built with FreeType; its wheels are")
    return font


def _draw_point(pen: ImageDraw.ImageDraw, label: Label, colour: str) -> None:
    x, y = _scaled(label.at)
    radius = _DOT_PX * _OVERSAMPLING
    fill = colour if label.is_drawn else "white"
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=colour, width=2 * _OVERSAMPLING)
    pen.text(
        _scaled(label.middle),
        str(label.point),
        fill=colour,
        font=_font(),
        anchor="mm",
        stroke_width=_OVERSAMPLING,
        stroke_fill="white",
    )


def _draw_caption(pen: ImageDraw.ImageDraw, protocol: LandmarkProtocol, entries: list[Label]) -> None:
    lines = [
        f"Protocol {protocol.name}: {protocol.num_landmarks} landmarks, numbered from 0, on a drawn face; "
        "the person's right is at the left.",
        "Filled: landmarks of the drawn face. Rings: placed between or beside them, to show the order.",
    ]
    if all(entry.is_drawn for entry in entries):
        lines[1] = "Every point is a landmark of the drawn face."
    shared = [f"{a.point} and {b.point}" for a, b in combinations(entries, 2) if a.at == b.at]
    if shared:
        lines[1] += f" In one place: {', '.join(shared)}."
    for row, line in enumerate(lines):
        at = (12.0, SIDE_PX + 22 + row * (_FONT_PX + 11))
        pen.text(_scaled(at), line, fill="black", font=_font(), anchor="lm")


def _scaled(at: tuple[float, float]) -> tuple[float, float]:
    return at[0] * _OVERSAMPLING, at[1] * _OVERSAMPLING


def _png(canvas: Image.Image) -> bytes:
    small = canvas.resize((canvas.width // _OVERSAMPLING, canvas.height // _OVERSAMPLING), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.quantize(palette=_palette(), dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@cache
def _palette() -> Image.Image:
    """The face's own colours, and those of lines and numbers with their paler edges."""
    face = Image.fromarray(_face()[0]).quantize(_FACE_COLOURS).getpalette() or []
    inks = np.array([ImageColor.getrgb(colour) for colour in (*_COLOURS, "black")], dtype=np.float64)
    edges = [255 - (255 - inks) * strength for strength in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*face, *np.concatenate(edges).round().astype(int).ravel().tolist()])
    return palette


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m adodn.protocols.picture FOLDER")
    write_all(Path(sys.argv[1]))
