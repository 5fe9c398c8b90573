"""What a search found, as pictures for a paper: PNG bytes from an Optuna study. Stores nothing.

    pictures = draw(study, defaults=0)
    pictures.drawn["contour.png"], pictures.left_out["pareto.png"]

Drawn here and not by `optuna.visualization.matplotlib`, which changes the style of the whole process, keeps every
figure open, and knows no units. Importances and the Pareto front are Optuna's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from optuna.trial import TrialState

from adodn.plots import COLOURS, png, style
from tune.finished import FORESTS, Finished, LeftOutError, Parameter, Reals, importances, surface

LABELS = {
    "beta": "β, nuclear norm",
    "eta": "η, L1",
    "eta_response": "η′, L1 of P′",
    "eta_importance": "η″, L1 of P″",
    "p": "p, switch",
    "tau_d": "τ$_d$, threshold",
    "r": "r, reduction",
    "alpha": "α, L2 of convolutions",
    "gamma": "γ, L2 of M",
    "lambda": "λ, L2 of the last layer",
    "learning_rate": "learning rate",
    "rotation": "rotation (°)",
}
"""Name in a study → what axes say; other names stand for themselves."""

FAIL, PRUNED = TrialState.FAIL, TrialState.PRUNED
_SHADES = "cividis"
"""From dark, the best, to light: read alike by every kind of eye, and in grey."""
_BEST = COLOURS[1]
_CELLS = 120
_Side: TypeAlias = Literal["x", "y"]
_WIDE = 4.0
"""Errors that differ by this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """What could be drawn of a study, and why the rest could not."""

    drawn: dict[str, bytes]
    """File name → PNG."""
    left_out: dict[str, str]
    """File name → reason."""


def draw(
    study: optuna.Study,
    *,
    objectives: Sequence[str] = ("nme",),
    defaults: int | None = None,
    pair: tuple[str, str] = ("p", "tau_d"),
) -> Pictures:
    """History, importance, slices, contour, parallel coordinates and Pareto front of a study.

    Where there are two objectives, all but the last are of the first.

    Args:
        study: It may still be running.
        objectives: Their names, in the study's order; see `finished.UNITS`.
        defaults: Number of the trial with the papers' defaults, which is marked.
        pair: Names of the contour's parameters.

    Raises:
        ConfigError: If no trial has finished, an objective is maximised, or the study has another number of them.
    """
    finished = Finished.of(study, objectives=objectives, defaults=defaults)
    ways: dict[str, Callable[[], Figure]] = {
        "history.png": lambda: _history(finished),
        "importance.png": lambda: _importance(finished),
        "slices.png": lambda: _slices(finished),
        "contour.png": lambda: _contour(finished, *pair),
        "parallel.png": lambda: _parallel(finished),
        "pareto.png": lambda: _pareto(finished),
    }
    drawn: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    for name, way in ways.items():
        try:
            drawn[name] = png(way())
        except LeftOutError as reason:
            left_out[name] = str(reason)
    return Pictures(drawn=drawn, left_out=left_out)


def _history(finished: Finished) -> Figure:
    figure, axes = _one("History of the search")
    numbers, errors = np.array([trial.number for trial in finished.trials]), finished.values[:, 0]
    axes.scatter(numbers, errors, s=20, color=COLOURS[5], edgecolors="none", label="trial")
    best, last = np.minimum.accumulate(errors), max([*numbers, *finished.others(FAIL), *finished.others(PRUNED)])
    label = f"best so far: {best[-1]:.3g}"
    line: dict[str, Any] = {"color": COLOURS[0], "linewidth": 1.8, "label": label}
    axes.step([*numbers, last], [*best, best[-1]], where="post", **line)
    _mark_defaults(axes, finished)
    for state, marker, word in ((FAIL, "x", "failed"), (PRUNED, "|", "stopped early")):
        lost = finished.others(state)
        if lost:
            foot = np.full(len(lost), 0.02)
            look: dict[str, Any] = {"s": 24, "marker": marker, "color": COLOURS[6], "linewidths": 1.0, "clip_on": False}
            axes.scatter(lost, foot, transform=axes.get_xaxis_transform(), label=f"{word}: {len(lost)}", **look)
    _error_axis(axes, "y", errors)
    margin = 0.5 + 0.01 * last
    axes.set(xlabel="trial", ylabel=finished.objectives[0], xlim=(-margin, last + margin))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _mark_defaults(axes: Axes, finished: Finished) -> None:
    if finished.defaults is not None:
        level = finished.values[finished.defaults, 0]
        look: dict[str, Any] = {"color": _BEST, "linewidth": 1.2, "linestyle": "--"}
        axes.axhline(level, label=f"the papers' defaults: {level:.3g}", **look)


def _importance(finished: Finished) -> Figure:
    shares = importances(finished)
    figure, axes = _one(f"Importance by fANOVA: {len(finished.trials)} trials, ± deviation over {FORESTS} forests")
    names = list(shares)[::-1]
    means, spreads = (100 * np.array([shares[name][part] for name in names]) for part in (0, 1))
    look: dict[str, Any] = {"color": COLOURS[0], "ecolor": COLOURS[6], "error_kw": {"elinewidth": 1.0, "capsize": 2}}
    axes.barh([LABELS.get(name, name) for name in names], means, xerr=spreads, height=0.6, **look)
    for place, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
        axes.annotate(
            f"{mean:.0f} %", (mean + spread, place), (5, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_xlim(0, 1.15 * float((means + spreads).max()))
    axes.set_xlabel("share of the explained variance (%)")
    axes.grid(visible=False, axis="y")
    return figure


def _slices(finished: Finished) -> Figure:
    panels = _varied(finished)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.9, 2.7 * rows), dpi=150, layout="constrained")
    panes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel().tolist()
    errors, numbers = finished.values[:, 0], [trial.number for trial in finished.trials]
    norm = Normalize(min(numbers), max(max(numbers), 1))
    for place, (axes, parameter) in enumerate(zip(panes, panels, strict=False)):
        at = finished.places(parameter)
        axes.scatter(at, errors, c=numbers, cmap=_SHADES, norm=norm, s=20, edgecolors="white", linewidths=0.4)
        axes.scatter(at[finished.best], errors[finished.best], s=110, marker="*", color=_BEST, edgecolors="white")
        _parameter_axis(axes, "x", parameter)
        _error_axis(axes, "y", errors)
        axes.set_xlabel(LABELS.get(parameter.name, parameter.name), fontsize=9)
        if place % columns == 0:
            axes.set_ylabel(finished.objectives[0], fontsize=9)
        style(axes)
    for axes in panes[len(panels) :]:
        axes.set_axis_off()
    _scale_of_trials(figure, panes, norm)
    figure.suptitle("Error against each parameter, the best trial starred", fontsize=11, x=0.01, ha="left")
    return figure


def _contour(finished: Finished, across: str, up: str) -> Figure:
    """The error over two parameters, the others being wherever the trials had them."""
    x, y = finished.parameter(across), finished.parameter(up)
    if x.choices or y.choices:
        raise LeftOutError(f"a contour needs parameters on a scale, and {across!r} or {up!r} is a choice")
    errors, steps = finished.values[:, 0], np.linspace(0, 1, _CELLS)
    field = surface(np.column_stack([finished.shares(x), finished.shares(y)]), errors, steps)
    figure, axes = _one(f"Error over {across} and {up.replace('tau_d', 'τ$_d$')}")
    norm = _error_norm(errors)
    if np.isfinite(field).any() and np.nanmax(field) > np.nanmin(field):
        _draw_field(axes, x, y, steps, field, norm)
    at_x, at_y = finished.places(x), finished.places(y)
    look: dict[str, Any] = {"cmap": _SHADES, "norm": norm, "edgecolors": "white", "linewidths": 0.7}
    axes.scatter(at_x, at_y, c=errors, s=34, **look)
    best = finished.best
    axes.scatter(at_x[best], at_y[best], s=150, marker="*", color=_BEST, edgecolors="white", label="best trial")
    _parameter_axis(axes, "x", x)
    _parameter_axis(axes, "y", y)
    axes.set(xlabel=LABELS.get(across, across), ylabel=LABELS.get(up, up))
    axes.legend(frameon=True, framealpha=0.9, fontsize=8, loc="upper right")
    _colour_scale(figure, axes, norm, finished)
    return figure


def _draw_field(axes: Axes, x: Parameter, y: Parameter, steps: Reals, field: Reals, norm: Normalize) -> None:
    levels = np.quantile(field[np.isfinite(field)], np.linspace(0, 1, 9))
    at_x, at_y = (_on_axis(one, steps) for one in (x, y))
    axes.contourf(at_x, at_y, field, np.unique(levels), cmap=_SHADES, norm=norm)
    lines = axes.contour(at_x, at_y, field, np.unique(levels)[1:-1], colors="white", linewidths=0.7)
    axes.clabel(lines, fontsize=7, fmt="%.3g")


def _parallel(finished: Finished) -> Figure:
    parameters, errors = _varied(finished), finished.values[:, 0]
    width = max(6.4, 1.25 * len(parameters) + 2)
    figure = Figure(figsize=(width, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_title("Parallel coordinates", fontsize=11, loc="left")
    worst_first = np.argsort(-errors)
    lines = np.stack([finished.shares(parameter) for parameter in parameters], axis=1)[worst_first]
    norm = _error_norm(errors)
    ranks = np.linspace(0.25, 1.0, len(errors))
    paths = [np.column_stack([np.arange(len(line)), line]) for line in lines]
    axes.add_collection(
        LineCollection(paths, array=errors[worst_first], cmap=_SHADES, norm=norm, alpha=ranks, linewidths=1.1)
    )
    axes.plot(lines[-1], color=_BEST, linewidth=2.2, marker="*", markersize=9, label="best trial")
    for place, parameter in enumerate(parameters):
        axes.axvline(place, color="0.2", linewidth=0.8, zorder=0.5)
        _write_scale(axes, place, parameter)
    axes.set(xlim=(-0.35, len(parameters) - 0.6), ylim=(-0.04, 1.04))
    axes.set_xticks(range(len(parameters)), [LABELS.get(one.name, one.name) for one in parameters], fontsize=9)
    axes.tick_params(length=0)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    _colour_scale(figure, axes, norm, finished)
    return figure


def _write_scale(axes: Axes, place: int, parameter: Parameter) -> None:
    """Values beside a line of the parallel coordinates."""
    for value, word in zip(*_ticks(parameter), strict=True):
        height = parameter.share_on_axis(value)
        axes.plot([place - 0.02, place + 0.02], [height, height], color="0.2", linewidth=0.8)
        box: dict[str, Any] = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
        look: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 7, "bbox": box, "zorder": 5}
        axes.annotate(word, (place, height), (-5, 0), textcoords="offset points", **look)


def _pareto(finished: Finished) -> Figure:
    if len(finished.objectives) != 2:
        raise LeftOutError(f"a Pareto front needs two objectives, the study has {len(finished.objectives)}")
    figure, axes = _one("Pareto front")
    numbers = {trial.number for trial in finished.study.best_trials}
    front = np.array([trial.number in numbers for trial in finished.trials])
    values = finished.values
    axes.scatter(values[~front, 0], values[~front, 1], s=22, color=COLOURS[5], edgecolors="none", label="trial")
    edge = values[front][np.lexsort(values[front].T[::-1])]
    axes.step(edge[:, 0], edge[:, 1], where="post", color=COLOURS[0], linewidth=1.4)
    look: dict[str, Any] = {"s": 36, "color": COLOURS[0], "edgecolors": "white", "zorder": 3}
    axes.scatter(edge[:, 0], edge[:, 1], label=f"none is better in both: {front.sum()}", **look)
    if finished.defaults is not None:
        at = values[finished.defaults]
        axes.scatter(
            at[0], at[1], s=60, marker="D", color=_BEST, edgecolors="white", zorder=4, label="the papers' defaults"
        )
    _error_axis(axes, "x", values[:, 0])
    _error_axis(axes, "y", values[:, 1])
    axes.set(xlabel=finished.objectives[0], ylabel=finished.objectives[1])
    axes.legend(frameon=False, fontsize=8)
    return figure


def _varied(finished: Finished) -> list[Parameter]:
    if not finished.parameters:
        why = f"{', '.join(finished.constant)} never varied" if finished.constant else "the trials share no parameter"
        raise LeftOutError(f"no parameter to draw: {why}, over {len(finished.trials)} finished trials")
    return finished.parameters


def _one(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, loc="left")
    style(axes)
    return figure, axes


def _parameter_axis(axes: Axes, side: _Side, parameter: Parameter) -> None:
    """Ends of what was searched with a little room, on its scale."""
    room = np.array([-0.04, 1.04])
    places, words = _ticks(parameter)
    axes.set(
        **{
            f"{side}scale": "log" if parameter.is_log else "linear",
            f"{side}lim": tuple(_on_axis(parameter, room)),
            f"{side}ticks": places,
            f"{side}ticklabels": words,
        }
    )
    _axis(axes, side).set_minor_locator(NullLocator())


def _axis(axes: Axes, side: _Side) -> XAxis | YAxis:
    return axes.xaxis if side == "x" else axes.yaxis


def _ticks(parameter: Parameter) -> tuple[list[float], list[str]]:
    """Values to write on an axis, and how."""
    low, high = parameter.ends
    if parameter.choices:
        return [float(place) for place in range(len(parameter.choices))], [str(choice) for choice in parameter.choices]
    locator = LogLocator(numticks=7) if parameter.is_log else MaxNLocator(5)
    values = [float(value) for value in locator.tick_values(low, high) if low * 0.999 <= value <= high * 1.001]
    return values, [f"$10^{{{np.log10(value):.0f}}}$" if parameter.is_log else f"{value:g}" for value in values]


def _on_axis(parameter: Parameter, shares: Reals) -> Reals:
    """Shares of the way between the ends → values."""
    low, high = parameter.ends
    return low * (high / low) ** shares if parameter.is_log else low + (high - low) * shares


def _error_norm(errors: Reals) -> Normalize:
    """Colours of errors; the worst tenth share one, so that one bad trial does not take all others' contrast."""
    low, high = float(errors.min()), float(np.quantile(errors, 0.9))
    if high == low:
        return Normalize(low - 0.5, high + 0.5)
    return LogNorm(low, high) if low > 0 and high / low >= _WIDE else Normalize(low, high)


def _error_axis(axes: Axes, side: _Side, errors: Reals) -> None:
    """Logarithmic where errors are far apart, with plain numbers."""
    if errors.min() > 0 and errors.max() / errors.min() >= _WIDE:
        axes.set(**{f"{side}scale": "log"})
        _plain_log_ticks(_axis(axes, side), float(errors.min()), float(errors.max()))


def _plain_log_ticks(axis: XAxis | YAxis, low: float, high: float) -> None:
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 200 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if 0.7 * low <= tick <= 1.4 * high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _scale_of_trials(figure: Figure, grid: list[Axes], norm: Normalize) -> None:
    bar = figure.colorbar(ScalarMappable(norm, _SHADES), ax=grid, pad=0.02)
    bar.set_label("trial", fontsize=9)
    bar.locator = MaxNLocator(5, integer=True)
    bar.update_ticks()


def _colour_scale(figure: Figure, axes: Axes, norm: Normalize, finished: Finished) -> None:
    beyond = "max" if finished.values[:, 0].max() > float(norm.vmax or 0) else "neither"
    bar = figure.colorbar(ScalarMappable(norm, _SHADES), ax=axes, pad=0.02, extend=beyond)
    bar.set_label(finished.objectives[0], fontsize=9)
    if isinstance(norm, LogNorm):
        _plain_log_ticks(bar.ax.yaxis, float(norm.vmin or 0), float(norm.vmax or 0))
