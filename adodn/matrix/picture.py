"""A matrix as a heat map with its numbers: what `adodn matrix --out` writes beside the tables.

png = heat_map(matrix)
"""

import math

import numpy as np
from matplotlib.figure import Figure

from adodn.matrix.table import Matrix
from adodn.plots import png

_MAP = "viridis_r"
"""Darker is worse; its lightness falls evenly, so that it reads in grey and by every kind of eye."""
_LONGEST = 60


def heat_map(matrix: Matrix) -> bytes:
    """Rows of models, columns of datasets, coloured by the logarithm of the NME, as PNG; failed cells stay empty."""
    values = np.full((len(matrix.rows), len(matrix.columns)), math.nan)
    for (row, column), entry in matrix.entries.items():
        values[matrix.rows.index(row), matrix.columns.index(column)] = 100 * entry.nme
    legend = [_cut(line, 110) for line in matrix.legend()]
    size = (3.2 + 1.9 * len(matrix.columns), 1.6 + 0.75 * len(matrix.rows) + 0.2 * len(legend))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#e4e4e4")
    shades = np.log(np.maximum(values, 1e-9))
    axes.imshow(shades, cmap=_MAP, aspect="auto")
    axes.set_xticks(range(len(matrix.columns)), [_cut(name, _LONGEST) for name in matrix.columns], fontsize=8)
    axes.set_yticks(range(len(matrix.rows)), [_cut(name, _LONGEST) for name in matrix.rows], fontsize=8)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    dark = np.isfinite(shades) & (shades > _middle(shades))
    for y, row in enumerate(matrix.rows):
        for x, column in enumerate(matrix.columns):
            text = matrix.shown(row, column).replace(" [", "\n[", 1)
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark[y, x] else "black")
    axes.set_xlabel("\n".join(legend), fontsize=7, loc="left", color="#444444")
    return png(figure)


def _middle(shades: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    known = shades[np.isfinite(shades)]
    return float((known.min() + known.max()) / 2) if len(known) else 0.0


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
