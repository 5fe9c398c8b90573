"""The card of a model, as Markdown: what it is for, what it was made of, how well it does, and what not to expect.

text = model_card(facts)
short = model_card(facts, max_characters=DESCRIPTION_CHARACTERS)         # for MLflow's description of a version

Names come from datasets and users: each is shown as code, in which Markdown has no meaning. It sends nothing anywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adodn import __version__
from adodn.config import ExperimentConfig
from adodn.datasets.terms import terms_of
from adodn.evaluate import ALL, EvaluationReport
from adodn.evaluate.figures import label
from adodn.statistics import mean_interval

DESCRIPTION_CHARACTERS = 5000
"""What MLflow keeps of a version's description on PostgreSQL."""
_CONFIDENCE = 0.95
_LONGEST_NAME = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOn:
    """A dataset of the training."""

    name: str
    digest: str
    """Of its manifest."""
    uri: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """All that a card says."""

    config: ExperimentConfig
    reports: Sequence[EvaluationReport]
    trained_on: Sequence[TrainedOn]
    run_name: str
    run_id: str
    commit: str
    """Of the code that trained it; empty where nobody said."""
    sha256: Mapping[str, str]
    """File of the registered model → hash."""


def model_card(facts: CardFacts, *, max_characters: int | None = None) -> str:
    """The card as Markdown.

    Args:
        facts: What it says.
        max_characters: Rows of the evaluation, the last ones first, are left out until it is no longer than that, and
            the card says so.
    """
    rows = [row for report in facts.reports for row in _evaluation_rows(report)]
    text = _card(facts, rows, 0)
    if max_characters is None or len(text) <= max_characters:
        return text
    for left_out in range(1, len(rows) + 1):
        text = _card(facts, rows[:-left_out], left_out)
        if len(text) <= max_characters:
            return text
    return text[: max_characters - 2].rsplit("\n", 1)[0] + "\n…"


def as_code(text: str) -> str:
    """A name as Markdown code in one line, also in a table: nothing in it can be markup, a link or HTML."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text).strip()
    if len(plain) > _LONGEST_NAME:
        plain = plain[:_LONGEST_NAME].rstrip() + "…"
    plain = plain.replace("`", "'").replace("|", "\N{BROKEN BAR}")
    return f"`{plain}`" if plain else "–"


def _card(facts: CardFacts, rows: Sequence[Sequence[str]], left_out: int) -> str:
    sections = {
        "Intended use": _intended_use(facts.config),
        "Training data": _training_data(facts),
        "Evaluation": _evaluation(facts, rows, left_out),
        "Limits": _limits(facts),
        "Licence and terms": _terms(facts),
        "Provenance": _provenance(facts),
    }
    parts = [f"# Facial landmark detector {as_code(facts.config.name)}"]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _intended_use(config: ExperimentConfig) -> str:
    protocol = config.model.landmark_protocol
    return (
        f"Finds the {protocol.num_landmarks} landmarks of protocol {as_code(protocol.name)} of a face in a colour "
        "photo, partly covered faces included, where the face's box is known. It looks at a square of "
        f"{config.model.input_px} pixels around the box. It finds no faces, and it does not tell how sure it is.\n\n"
        "Not meant to tell who somebody is, nor to judge feelings, health or character, nor for decisions about people."
    )


def _training_data(facts: CardFacts) -> str:
    config = facts.config
    known = [(as_code(one.name), as_code(one.digest), as_code(one.uri)) for one in facts.trained_on]
    if not known:
        known = [("–", as_code(digest), "–") for digest in config.data.digests or ("unknown",)]
    augment = config.data.augment
    covered = (
        f"Something is drawn over {augment.occlusion_probability:.0%} of the faces."
        if augment.occlusion_probability
        else "Nothing is drawn over the faces."
    )
    start = config.train.initial_model or config.model.initial_weights
    begins = f"It starts from weights with sha256 {as_code(start)}." if start else "It starts from random weights."
    return f"{_table(('dataset', 'digest of the manifest', 'address'), known)}\n\n{begins} {covered}"


def _evaluation(facts: CardFacts, rows: Sequence[Sequence[str]], left_out: int) -> str:
    if not facts.reports:
        return "It was not evaluated when it was registered."
    on = "; ".join(f"{as_code(one.dataset)}, digest {as_code(one.dataset_digest)}" for one in facts.reports)
    text = f"On the test split of {on}.\n\n{_table(('figure', 'value', '95 % interval', 'faces'), rows)}\n\n"
    if left_out:
        text += f"{left_out} more rows are in the whole card, an artifact of the run: `model_card/`.\n\n"
    return text + (
        "Intervals speak of other faces of the same kind (means: Student's t; failure rates: Wilson), not of another "
        "training: that would be another seed, and other figures."
    )


def _evaluation_rows(report: EvaluationReport) -> Iterator[tuple[str, str, str, str]]:
    parts = report.errors.by_subset()
    for subset in sorted(parts, key=lambda name: name != ALL):  # what is left out of a short card are parts
        nme = parts[subset]
        low, high = _of_mean(nme, np.inf)
        named = report.name(subset, f"nme@{report.normaliser}")
        yield as_code(named), f"{100 * report.value(named):.2f} %", _percents(low, high), str(len(nme))
        for threshold in report.thresholds:
            named = report.name(subset, f"failure_rate@{label(threshold)}")
            failed = stats.binomtest(int((nme > threshold).sum()), len(nme))
            low, high = failed.proportion_ci(_CONFIDENCE, "wilson")
            yield as_code(named), f"{100 * report.value(named):.2f} %", _percents(low, high), str(len(nme))
            named = report.name(subset, f"auc@{label(threshold)}")
            # The area is the mean of what each face has left below the threshold.
            low, high = _of_mean(np.clip(1 - nme / threshold, 0, None), 1)
            between = f"{low:.4f} to {high:.4f}" if np.isfinite(low) else "–"
            yield as_code(named), f"{report.value(named):.4f}", between, str(len(nme))


def _of_mean(values: NDArray[np.float64], most: float) -> tuple[float, float]:
    """The interval of a mean of faces, inside of what it can be; not finite where faces do not differ, or for one."""
    if np.ptp(values) == 0:
        return np.nan, np.nan
    interval = mean_interval(values.tolist(), confidence=_CONFIDENCE)
    return max(0.0, interval.low), min(most, interval.high)


def _percents(low: float, high: float) -> str:
    return f"{100 * low:.2f} % to {100 * high:.2f} %" if np.isfinite([low, high]).all() else "–"


def _limits(facts: CardFacts) -> str:
    config = facts.config
    lines = [
        "Figures hold for the datasets named, and for boxes made as theirs. Other cameras, ages, skin tones, poses and "
        "coverings were not measured unless a subset above says so.",
        f"One training, seed {config.train.seed}, precision {config.train.precision}; another gives other weights.",
        "Landmarks are always given, also where the box holds no face.",
    ]
    unmeasured = sorted({why for report in facts.reports for why in report.left_out.values()})
    lines += [f"Not measured, because: {as_code(why)}." for why in unmeasured[:5]]
    return "\n".join(f"* {line}" for line in lines)


def _terms(facts: CardFacts) -> str:
    names = [one.name for one in facts.trained_on] or ["the training data"]
    tested = [report.dataset for report in facts.reports]
    lines = [f"* {as_code(name)}: {terms_of(name)}" for name in dict.fromkeys([*names, *tested])]
    lines.append(
        "* The code is under the Apache License 2.0. Weights are made of the data, whose terms may bind their users."
    )
    return "\n".join(lines)


def _provenance(facts: CardFacts) -> str:
    dirty = facts.commit.endswith("+")
    commit = as_code(facts.commit.removesuffix("+")) + (", with files that differed from it" if dirty else "")
    rows = [
        ("run", f"{as_code(facts.run_name)}, {as_code(facts.run_id)}"),
        ("experiment", f"fingerprint {as_code(facts.config.fingerprint())}"),
        ("code", f"commit {commit}" if facts.commit else "unknown"),
        ("registered by", f"adodn {__version__}"),
        *((as_code(name), as_code(sha256)) for name, sha256 in sorted(facts.sha256.items()) if _is_model(name)),
    ]
    chain = "`adodn lineage` with the name of this version follows it back to the photos and checks every step."
    return f"{_table(('what', 'which'), rows)}\n\n{chain}"


def _is_model(name: str) -> bool:
    """Whether it is a file that holds the model itself; all others are in the version's tag."""
    return name.endswith((".safetensors", ".pt2", "/config.json"))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
