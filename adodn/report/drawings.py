"""Curves, and heat on a mean face, as data URIs that a page can hold. No text from outside is taken for mathematics.

uri = ced({"A": errors_a, "B": errors_b}, "outer_eye_corners")
uri = landmark_heat(protocol, mean_face(errors), values)
"""

import base64
import io
from collections.abc import Mapping

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter
from numpy.typing import NDArray

from adodn.evaluate import FaceErrors
from adodn.plots import COLOURS, TILE_PX, draw_ced, jpeg, style, words
from adodn.protocols import LandmarkProtocol
from adodn.validation.shape_model import fit, standardised

_SHARE = 0.6
"""Of a map's colour over the face."""
_TINY = 1e-9
"""Of a face's size: landmarks nearer than this lie in one place."""
_LONGEST = 28
"""Characters of a name in a legend."""
_A, _B = COLOURS[:2]
_LIGHT_TO_DARK = LinearSegmentedColormap.from_list("heat", mpl.colormaps["magma_r"](np.linspace(0.12, 0.92, 64)))
_TWO_SIDED = LinearSegmentedColormap.from_list("two-sided", [_A, "#f4f4f4", _B])
_GREY = "#9a9a9a"
_NEAR, _FAR = 0.6, 1.15
"""Margins of the scatter's axes: below the least error and above the largest."""

Numbers = NDArray[np.float64]


def ced(
    curves: Mapping[str, Numbers],
    normaliser: str,
    *,
    threshold: float = 0.10,
    size_in: tuple[float, float] = (4.2, 3.2),
) -> str:
    """Cumulative error distributions, one curve a name.

    Args:
        curves: Name → errors `[N]`, fractions.
        normaliser: Named on the axis.
        threshold: Where the axis ends.
        size_in: Width and height, inches.
    """
    figure = Figure(figsize=size_in, layout="constrained")
    axes = figure.subplots()
    style(axes)
    for place, (name, errors) in enumerate(curves.items()):
        draw_ced(axes, plain(name), errors, threshold, COLOURS[place % len(COLOURS)])
    axes.set(xlim=(0, threshold), ylim=(0, 1), xlabel=f"NME, over {words(normaliser)}", ylabel="faces")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8, ncols=1)
    return svg(figure)


def mean_face(errors: FaceErrors) -> Numbers:
    """`[L, 2]`, the mean shape of the annotation with left and right alike; y grows downwards.

    Where no face has its landmarks in more than a place or two, their mean as they are.
    """
    shapes = standardised(errors.target)
    middle = np.median(shapes.real, axis=1) + 1j * np.median(shapes.imag, axis=1)
    spread = np.median(np.abs(shapes - middle[:, None]), axis=1)
    faces = shapes[np.isfinite(spread) & (spread > _TINY)]
    if not len(faces):
        return np.asarray(errors.target.mean(axis=0))
    mean = fit(faces, errors.protocol).mean if errors.protocol.normalisers else faces.mean(axis=0)
    return np.stack([mean.real, mean.imag], axis=-1)


def landmark_heat(protocol: LandmarkProtocol, face: Numbers, values: Numbers, *, two_sided: bool = False) -> str:
    """Each landmark of a face coloured by a number.

    Args:
        protocol: Layout of the landmarks.
        face: `[L, 2]`, from `mean_face`.
        values: `[L]`, fractions: errors, or differences of two models.
        two_sided: Whether 0 is the middle of the colours.
    """
    figure, axes = _face_figure()
    scale, colours = _scale(values, two_sided)
    for name, points in protocol.parts.items():
        _outline(axes, protocol, name, face[list(points)], _GREY, 0.8)
    axes.scatter(
        face[:, 0],
        face[:, 1],
        c=100 * values,
        cmap=colours,
        norm=scale,
        s=34,
        edgecolors="#333333",
        linewidths=0.5,
        zorder=3,
    )
    _finish(figure, axes, scale, colours, two_sided)
    return svg(figure)


def part_heat(
    protocol: LandmarkProtocol,
    face: Numbers,
    values: Mapping[str, float],
    by_landmark: Numbers,
    *,
    two_sided: bool = False,
) -> str:
    """Each part of a face coloured by a number, as `landmark_heat`; a part without one is left grey.

    Args:
        protocol: Layout of the landmarks.
        face: `[L, 2]`, from `mean_face`.
        values: Part → fraction.
        by_landmark: `[L]`, what `landmark_heat` was given: the two have one scale.
        two_sided: Whether 0 is the middle of the colours.
    """
    figure, axes = _face_figure()
    scale, colours = _scale(by_landmark, two_sided)
    for name, points in protocol.parts.items():
        colour = colours(scale(100 * values[name])) if name in values else _GREY
        _outline(axes, protocol, name, face[list(points)], colour, 6)
    _finish(figure, axes, scale, colours, two_sided)
    return svg(figure)


def scatter(a: Numbers, b: Numbers) -> str:
    """The error of each face by one model against that by another, both axes logarithmic."""
    figure = Figure(figsize=(3.6, 3.6), layout="constrained", dpi=240)
    axes = figure.subplots()
    style(axes)
    low, high = _NEAR * max(min(a.min(), b.min()), 1e-4), _FAR * max(a.max(), b.max(), 1e-3)
    axes.plot([low, high], [low, high], color="#333333", linewidth=0.8)
    chosen = [a < b, a > b, a == b]
    for where, colour in zip(chosen, (_A, _B, _GREY), strict=True):
        axes.scatter(a[where], b[where], s=9, color=colour, alpha=0.55, linewidths=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel="NME of A", ylabel="NME of B")
    axes.text(0.04, 0.96, "A better", transform=axes.transAxes, va="top", color=_A, fontsize=9)
    axes.text(0.96, 0.04, "B better", transform=axes.transAxes, ha="right", color=_B, fontsize=9)
    ticks = [tick for tick in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if low < tick < high]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [f"{100 * tick:g}%" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data, metadata={"Software": None})
    return data_uri("image/png", data.getvalue())


def overlay(image: NDArray[np.uint8], values: NDArray[np.float32], low: float, high: float) -> str:
    """A map laid over a face in grey, as JPEG.

    Args:
        image: `[S, S, 3]`, RGB.
        values: `[H, W]`, of the whole image.
        low: Value of the darkest colour.
        high: Value of the brightest.
    """
    grid = cv2.resize(values, (TILE_PX, TILE_PX), interpolation=cv2.INTER_LINEAR)
    face = cv2.resize(image, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC)
    grey = np.repeat(face.mean(axis=2, keepdims=True), 3, axis=2)
    colour = 255 * mpl.colormaps["viridis"](Normalize(low, max(high, low + 1e-6))(grid))[..., :3]
    return data_uri("image/jpeg", jpeg(np.rint(_SHARE * colour + (1 - _SHARE) * grey).astype(np.uint8)))


def plain(name: str) -> str:
    """A name as text of a picture: one line, not too long, no mathematics."""
    shown = "".join(letter if letter.isprintable() else " " for letter in name)
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
    return shown.replace("$", r"\$")


def svg(figure: Figure) -> str:
    """A figure as SVG whose letters are outlines, so that it needs no font. Equal figures give equal bytes."""
    data = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "adodn"}):
        FigureCanvasSVG(figure).print_svg(data, metadata={"Date": None, "Creator": None})
    return data_uri("image/svg+xml", data.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _face_figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.1, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    return figure, axes


def _scale(values: Numbers, two_sided: bool) -> tuple[Normalize, Colormap]:
    """Of per cents. A range of no width is given one."""
    percents = 100 * values
    if two_sided:
        reach = max(float(np.abs(percents).max(initial=0)), 1e-3)
        return Normalize(-reach, reach), _TWO_SIDED
    low, high = float(percents.min()), float(percents.max())
    return Normalize(low, max(high, low + 0.1)), _LIGHT_TO_DARK


def _outline(axes: Axes, protocol: LandmarkProtocol, name: str, points: Numbers, colour: object, width: float) -> None:
    closed = np.concatenate([points, points[:1]]) if name in protocol.closed_parts else points
    marker = "o" if len(points) == 1 else ""
    (line,) = axes.plot(closed[:, 0], closed[:, 1], color=colour, linewidth=width, zorder=2)
    line.set(solid_capstyle="round", solid_joinstyle="round", marker=marker, markersize=1.4 * width)


def _finish(figure: Figure, axes: Axes, scale: Normalize, colours: Colormap, two_sided: bool) -> None:
    axes.invert_yaxis()
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, orientation="horizontal", shrink=0.85, aspect=26)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    label = "A − B in points; blue: A better, orange: B better" if two_sided else "NME, %"
    bar.set_label(label, fontsize=8)
    axes.margins(0.08)
