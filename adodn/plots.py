"""Pictures: curves of errors and of training, and sheets of faces with what was found on them. Stores nothing.

png = ced_figure({"adodn": errors_a, "odn": errors_b}, "outer_eye_corners")
jpeg = error_sheet(errors, crops)
"""

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from adodn import metrics
from adodn.evaluate import Crop, FaceErrors
from adodn.models.nuclear_norm import effective_rank

_TRUTH = (60, 220, 90)
_PREDICTION = (255, 60, 220)
_OFFSET = (250, 250, 250)
_INK = (235, 235, 235)
_PAPER = (28, 28, 32)

TILE_PX = 256
"""Side of a drawn face."""
_OVERSAMPLING = 2
"""Tiles are drawn this much larger and shrunk, because OpenCV's smallest circles are diamonds."""
_CAPTION_PX = 26
_TITLE_PX = 34
_GAP_PX = 6
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SUBPIXEL_BITS = 4
_JPEG_QUALITY = 92

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, told apart by every kind of eye."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShownFace:
    """A face on a sheet; points are pixels of its image, (0, 0) being the centre of the top-left one."""

    image: Image
    """`[H, W, 3]`, RGB."""
    caption: str
    truth: NDArray[np.floating] | None = None
    """`[L, 2]`, drawn green."""
    prediction: NDArray[np.floating] | None = None
    """`[L, 2]`, drawn magenta, each joined to its truth."""


def ced_figure(curves: Mapping[str, metrics.Errors], normaliser: str, *, threshold: float = 0.10) -> bytes:
    """Cumulative error distributions, one curve a model, as PNG.

    Args:
        curves: Name → per-face errors `[N]`, fractions.
        normaliser: Named on the axis.
        threshold: Where the axis ends; AUC and failure rate in the legend are taken there.

    Raises:
        ValueError: If there is no curve, or errors are empty or NaN.
    """
    if not curves:
        raise ValueError("a CED figure needs at least one curve, got none")
    figure, axes = _figure("Cumulative error distribution")
    for place, (name, errors) in enumerate(curves.items()):
        draw_ced(axes, name, errors, threshold, COLOURS[place % len(COLOURS)])
    axes.set(xlim=(0, threshold), ylim=(0, 1), xlabel=f"NME, normalised by {words(normaliser)}", ylabel="faces")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, loc="best", fontsize=9)
    return png(figure)


def history_figure(history: Sequence[Mapping[str, float]]) -> bytes:
    """How training went, one panel a quantity, as PNG: `train/loss` and `val/loss` share one.

    Args:
        history: Metrics of each epoch, in order. One that an epoch lacks, or that is not finite, leaves a gap.

    Raises:
        ValueError: If there is no metric.
    """
    names = list(dict.fromkeys(name for metrics_of_epoch in history for name in metrics_of_epoch))
    if not names:
        raise ValueError("a history needs at least one epoch with a metric, got none")
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(name.rpartition("/")[2], []).append(name)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4 * columns, 2.8 * rows), dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes, (quantity, series) in zip(grid, panels.items(), strict=False):
        _draw_history(axes, quantity, {name: [epoch.get(name, math.nan) for epoch in history] for name in series})
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return png(figure)


def spectrum_figure(spectra: Mapping[str, Sequence[float]]) -> bytes:
    """Singular values by their number, one curve a matrix with its effective rank, as PNG.

    Args:
        spectra: Name → singular values, largest first. Zeros are not drawn, as the axis is logarithmic.

    Raises:
        ValueError: If there is no curve, or one has no values.
    """
    if not spectra or not all(spectra.values()):
        raise ValueError("a spectrum needs at least one curve, and each at least one value")
    figure, axes = _figure("Singular values of the low-rank matrix")
    for colour, (name, values) in zip(itertools.cycle(COLOURS), spectra.items(), strict=False):
        rank = float(effective_rank(torch.tensor(values, dtype=torch.float64)))
        label = f"{name}   effective rank {rank:.1f} of {len(values)}, sum {sum(values):.3g}"
        drawn = [value if value > 0 else math.nan for value in values]
        axes.plot(range(1, len(values) + 1), drawn, color=colour, linewidth=1.8, label=label)
        axes.axvline(rank, color=colour, linewidth=1, linestyle=":")
    axes.set_yscale("log")
    axes.set(xlabel="number of the singular value; dotted: effective rank", ylabel="singular value")
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    return png(figure)


def error_sheet(errors: FaceErrors, crops: Mapping[str, Crop], *, count: int = 6) -> bytes:
    """The best, median and worst faces of an evaluation, as JPEG.

    Args:
        errors: What the model did.
        crops: By key, from `evaluate.gather`: at least those of `errors.extremes(count)`.
        count: Faces of each kind.
    """
    places = {key: place for place, key in enumerate(errors.keys)}

    def shown(key: str) -> ShownFace:
        place = places[key]
        caption = f"{100 * errors.nme[place]:.2f} %  {key}"
        return shown_face(crops[key], caption, truth=errors.target[place], prediction=errors.predicted[place])

    return face_sheet({title: [shown(key) for key in keys] for title, keys in errors.extremes(count).items()})


def shown_face(
    crop: Crop,
    caption: str = "",
    *,
    truth: NDArray[np.float64] | None = None,
    prediction: NDArray[np.float64] | None = None,
) -> ShownFace:
    """A face with points `[L, 2]` of its original image brought to its crop."""
    return ShownFace(
        image=crop.image,
        caption=caption,
        truth=None if truth is None else crop.pixels_of(truth),
        prediction=None if prediction is None else crop.pixels_of(prediction),
    )


def face_sheet(faces: Mapping[str, Sequence[ShownFace]]) -> bytes:
    """Rows of faces under titles, truth in green and prediction in magenta, as JPEG.

    Args:
        faces: Title → faces of that row, e.g. `best`, `median`, `worst`.

    Raises:
        ValueError: If there is no face.
    """
    rows = [(title, row) for title, row in faces.items() if row]
    if not rows:
        raise ValueError("a sheet needs at least one face, got none")
    columns = max(len(row) for _, row in rows)
    strips = [strip for title, row in rows for strip in (_title(title, columns), _row(row, columns))]
    _draw_legend(strips[0], beside=rows[0][0])
    return jpeg(np.vstack(strips))


def contact_sheet(
    images: Sequence[Image], landmarks: Sequence[NDArray[np.floating]] | None = None, columns: int = 8
) -> bytes:
    """Many faces at a glance, to see whether data is what it should be, as JPEG.

    Args:
        images: `[H, W, 3]`, RGB, of any sizes.
        landmarks: `[L, 2]` of each, pixels of its image.
        columns: Faces a row.

    Raises:
        ValueError: If there is no image, or landmarks are not one array an image.
    """
    if not len(images):
        raise ValueError("a sheet needs at least one image, got none")
    if landmarks is not None and len(landmarks) != len(images):
        raise ValueError(f"each image needs its landmarks, got {len(images)} images and {len(landmarks)} sets")
    faces = [
        ShownFace(image=image, caption="", truth=None if landmarks is None else landmarks[place])
        for place, image in enumerate(images)
    ]
    columns = min(columns, len(faces))
    starts = range(0, len(faces), columns)
    return jpeg(np.vstack([_row(faces[start : start + columns], columns) for start in starts]))


def draw_ced(axes: Axes, name: str, errors: metrics.Errors, threshold: float, colour: str) -> None:
    """One curve, with AUC and failure rate at the threshold in its label."""
    failures = 100 * metrics.failure_rate(errors, threshold)
    label = f"{name}   AUC {metrics.auc(errors, threshold):.3f}, failures {failures:.1f} %"
    values = np.sort(np.asarray(errors, dtype=np.float64))
    x = np.concatenate([[0], values[values <= threshold], [threshold]])
    axes.step(x, metrics.ced(values, x).numpy(), where="post", color=colour, linewidth=1.8, label=label)


def _draw_history(axes: Axes, quantity: str, series: Mapping[str, Sequence[float]]) -> None:
    for place, (name, values) in enumerate(series.items()):
        finite = [value if math.isfinite(value) else math.nan for value in values]
        marker = "o" if len(values) == 1 else None
        axes.plot(range(len(values)), finite, color=COLOURS[place], linewidth=1.5, marker=marker, label=name)
    seen = [value for values in series.values() for value in values if math.isfinite(value)]
    if seen and min(seen) > 0 and max(seen) >= 10 * min(seen):
        axes.set_yscale("log")
    axes.set_title(words(quantity), fontsize=10, loc="left")
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style(axes)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)


def _row(faces: Sequence[ShownFace], columns: int) -> Image:
    caption = _CAPTION_PX if any(face.caption for face in faces) else 0
    cell = TILE_PX + _GAP_PX
    strip = _blank(cell + caption, columns * cell + _GAP_PX)
    for place, face in enumerate(faces):
        left = _GAP_PX + place * cell
        strip[:TILE_PX, left : left + TILE_PX] = face_tile(face)
        if caption:
            _write(strip, _fitted(face.caption, 0.45), (left + 2, TILE_PX + 18), 0.45)
    return strip


def face_tile(face: ShownFace) -> Image:
    """The face centred in a square of 256 pixels, its points drawn after it was resized, so that they stay sharp."""
    side = TILE_PX * _OVERSAMPLING
    height, width = face.image.shape[:2]
    zoom = side / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    tile = _blank(side, side)
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(face.image, size, interpolation=method)
    _draw_points(
        tile,
        *(
            None if points is None else (np.asarray(points, dtype=np.float64) + 0.5) * zoom - 0.5 + (left, top)
            for points in (face.truth, face.prediction)
        ),
    )
    return np.asarray(cv2.resize(tile, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _draw_points(tile: Image, truth: NDArray[np.float64] | None, prediction: NDArray[np.float64] | None) -> None:
    if truth is not None and prediction is not None:
        for start, end in zip(truth, prediction, strict=True):
            cv2.line(tile, _fixed(start), _fixed(end), _OFFSET, _OVERSAMPLING, cv2.LINE_AA, _SUBPIXEL_BITS)
    # The truth is a little larger, so that a rim of it is seen around a prediction that is right.
    for points, colour, radius in ((truth, _TRUTH, 2.3), (prediction, _PREDICTION, 1.6)):
        for point in () if points is None else points:
            size = round(radius * _OVERSAMPLING * (1 << _SUBPIXEL_BITS))
            cv2.circle(tile, _fixed(point), size, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _title(text: str, columns: int) -> Image:
    strip = _blank(_TITLE_PX, columns * (TILE_PX + _GAP_PX) + _GAP_PX)
    _write(strip, text, (_GAP_PX, 23), 0.6)
    return strip


def _draw_legend(strip: Image, beside: str) -> None:
    left = _GAP_PX + cv2.getTextSize(beside, _FONT, 0.6, 1)[0][0] + 24
    for word, colour in (("truth", _TRUTH), ("prediction", _PREDICTION)):
        cv2.circle(strip, (left, 18), 4, colour, cv2.FILLED, cv2.LINE_AA)
        _write(strip, word, (left + 9, 23), 0.45)
        left += cv2.getTextSize(word, _FONT, 0.45, 1)[0][0] + 30


def _write(image: Image, text: str, at: tuple[int, int], size: float) -> None:
    cv2.putText(image, text, at, _FONT, size, _INK, 1, cv2.LINE_AA)


def _fitted(text: str, size: float) -> str:
    """The text, cut where it would run into the next tile."""
    whole, length = text, len(text)
    while length and cv2.getTextSize(text, _FONT, size, 1)[0][0] > TILE_PX - 4:
        length -= 1
        text = whole[:length] + ".."
    return text


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    """OpenCV's fixed-point pixels. Points far outside are held near, where no line can overflow."""
    side = TILE_PX * _OVERSAMPLING
    x, y = np.rint(np.clip(point, -side, 2 * side) * (1 << _SUBPIXEL_BITS)).astype(int).tolist()
    return x, y


def _blank(height: int, width: int) -> Image:
    return np.full((height, width, 3), _PAPER, dtype=np.uint8)


def jpeg(image: Image) -> bytes:
    """`[H, W, 3]`, RGB, as a JPEG."""
    written, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert written, "OpenCV encodes any uint8 image"
    return bytes(data)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, loc="left")
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    """The look that all curves share."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def png(figure: Figure) -> bytes:
    """A figure as PNG, drawn without a window system."""
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data)
    return data.getvalue()


def words(name: str) -> str:
    """A name as people write it."""
    return name.replace("_", " ")
