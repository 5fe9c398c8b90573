"""A study's table as a picture: each variant's error with its interval, beside the reference and the paper. PNG bytes.

png = study_figure(table)
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adodn.plots import COLOURS, png, style
from tune.studies import Row, StudyTable

_OURS, _PAPER, _REFERENCE = COLOURS[0], COLOURS[1], COLOURS[2]


def study_figure(table: StudyTable) -> bytes:
    """One line a variant, from top to bottom as in the table: seeds as dots, their mean and 95 % interval as a bar."""
    height = 1.7 + 0.33 * len(table.rows)
    figure = Figure(figsize=(6.8, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(table.rows):
        _draw_row(axes, place, row, first=place == 0)
    reference = next(row for row in table.rows if row.name == table.reference)
    axes.axvline(reference.nme, color=_REFERENCE, linewidth=1.2, linestyle="--", label=f"reference: {table.reference}")
    if papers := [(row.paper, place) for place, row in enumerate(table.rows) if row.paper is not None]:
        axes.scatter(
            [nme for nme, _ in papers],
            [place for _, place in papers],
            marker="D",
            s=28,
            color=_PAPER,
            label="the paper, its own data",
        )
    names = [f"{row.name} {'*' if row.is_real else ''}" for row in table.rows]
    axes.set_yticks(range(len(table.rows)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"test NME (%), {table.faces} faces of subset {table.subset}; * differs for other seeds and faces")
    axes.set_title(
        f"Study {table.study}, {len(table.seeds)} seed{'s' * (len(table.seeds) > 1)}", fontsize=11, loc="left"
    )
    style(axes)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return png(figure)


def _draw_row(axes: Axes, place: int, row: Row, *, first: bool) -> None:
    """One variant; only the first is named in the legend."""
    axes.scatter(row.by_seed, [place] * len(row.by_seed), s=14, color=COLOURS[5], label="one seed" if first else None)
    reach = None
    if row.nme_interval is not None:
        low, high = row.nme_interval
        reach = [[row.nme - low], [high - row.nme]]
    axes.errorbar(
        row.nme,
        place,
        xerr=reach,
        fmt="|",
        markersize=11,
        markeredgewidth=2,
        capsize=3,
        color=_OURS,
        label="mean, 95 % over seeds" if first else None,
    )
