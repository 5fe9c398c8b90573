"""Numbers and statistics in words that a reader understands, and what they do not say.

percent(0.0397), span(0.0381, 0.0415), pvalue(0.0004)
verdict(look, "A", "B")
"""

from collections.abc import Mapping

from adodn.plots import words
from adodn.report.statistics import LEVEL, Look, MeanError

_NORMALISERS = {
    "outer_eye_corners": "the distance between the outer eye corners",
    "pupils": "the distance between the pupils",
    "box_size": "the size √(w·h) of the face box",
    "box_width": "the width of the face box",
    "box_height": "the height of the face box",
    "box_diagonal": "the diagonal of the face box",
    "landmark_box_size": "the size √(w·h) of the tight box around the landmarks",
    "landmark_box_diagonal": "the diagonal of the tight box around the landmarks",
}
NONE = "–"
"""In a table, where there is no number."""
_SMALLEST_P = 0.001


def normaliser(name: str) -> str:
    """What errors are divided by."""
    return _NORMALISERS.get(name, words(name))


def percent(fraction: float) -> str:
    """Per cent without the sign, as tables have it."""
    return f"{100 * fraction:.2f}"


def points(difference: float) -> str:
    """A difference in percentage points, with its sign where two digits show one."""
    shown = f"{100 * difference:+.2f}".replace("-", "−")
    return shown if shown.strip("+−0.") else "0.00"


def span(low: float | None, high: float | None) -> str:
    """An interval in per cent."""
    return NONE if low is None or high is None else f"{percent(low)} to {percent(high)}"


def pvalue(value: float) -> str:
    """Three digits; below a thousandth only that it is."""
    return f"< {_SMALLEST_P}" if value < _SMALLEST_P else f"{value:.3f}"


def mean_sentence(error: MeanError, by: str, of: str) -> str:
    """The headline of one model.

    Args:
        error: Its mean over faces.
        by: The normaliser's name.
        of: The dataset and subset.
    """
    interval = "" if error.low is None else f" (95 % interval {span(error.low, error.high)} %)"
    faces = "1 face" if error.faces == 1 else f"{error.faces:,} faces"
    return f"The mean error is {percent(error.mean)} %{interval} of {normaliser(by)}, over {faces} of {of}."


def verdict(look: Look, name_a: str, name_b: str) -> str:
    """What may be said of two models by one look at them."""
    shown = pvalue(look.adjusted)
    chance = f"p {shown}" if shown.startswith("<") else f"p = {shown}"
    interval = f"95 % interval {points(look.low)} to {points(look.high)}, {chance}"
    faces = f"these {look.faces:,} faces (subset {look.name})"
    if look.is_found:
        better, worse = (name_a, name_b) if look.difference < 0 else (name_b, name_a)
        return (
            f"{better} is better than {worse} on {faces}: its mean error is lower by {100 * abs(look.difference):.2f} "
            f"points (A − B: {interval})."
        )
    return (
        f"No difference was found on {faces}: A − B is {points(look.difference)} points ({interval}). That does not "
        f"show that the two are alike: a true difference of less than {100 * look.detectable:.2f} points could well "
        "have been missed with so many faces."
    )


def meaning_of_one(by: str) -> tuple[str, ...]:
    """How to read the figures of one model, and what they do not say."""
    return (
        "NME: the distance between where a landmark was found and where it was annotated, divided by "
        f"{normaliser(by)}; the mean over a face's landmarks, then over faces. Lower is better.",
        "Failures: the share of faces whose own NME is above the threshold. AUC: the area under the curve of Figure 1 "
        "up to the threshold; 1 would be no error at all.",
        "95 % interval: how far the mean could be off because just these faces were collected. Intervals that are made "
        "this way contain the mean over all such faces in about 95 of 100 cases (BCa bootstrap over faces).",
        "The interval does not speak of the luck of training: the same recipe trained with another seed is another "
        "network. Nor does it speak of other datasets, or of face boxes from another detector.",
        "A smaller number than a paper's does not show that a method is better. Papers print neither intervals nor the "
        "errors of single faces, so there is nothing to test against.",
    )


def meaning_of_two() -> tuple[str, ...]:
    """How to read a comparison, and what it does not say."""
    return (
        "A − B is the difference of the mean errors in percentage points: below 0 where A is better. Both models are "
        "measured on the same faces, so each face is compared with itself.",
        "95 % interval: other faces of the same kind would have given another difference; intervals that are made this "
        "way contain the one over all such faces in about 95 of 100 cases (BCa bootstrap over faces).",
        "p: if the two models were alike, it would be a matter of chance which of them is the better one on a face. "
        "The p-value is how often such chance alone gives a difference at least as large as the one seen. It is not "
        "the probability that the models are alike, and a large one does not show that they are.",
        "Many looks find something by chance. So the p-values of a table are adjusted for the number of its rows "
        f"(Holm): if there is no difference at all, the chance that even one falls below {LEVEL} stays below {LEVEL}.",
        "A better on: the share of faces on which A has the smaller error; 50 % is none. It may point the other way "
        "than the mean does, when a few faces fail badly.",
        "Detectable: the true difference that such a test finds in four of five cases. Smaller ones remain open.",
        "What cannot be concluded: that one recipe, or one method, is better than the other. Two trained networks were "
        "compared; train each recipe with several seeds for that. Nor does anything here speak of other datasets.",
        "Colours on single landmarks, and the faces that were picked because they differ most, are there to look at. "
        "They are no tests.",
    )


def lacking(left_out: Mapping[str, str]) -> tuple[str, ...]:
    """Figures that do not exist, a sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name.partition(" ")[2].partition("@")[0])
    return tuple(f"{', '.join(dict.fromkeys(names))}: {reason}." for reason, names in by_reason.items())
