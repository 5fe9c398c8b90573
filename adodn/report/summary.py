"""The gist of an evaluation in Markdown: for Prefect's artifacts, a pull request, a chat.

markdown = summary_markdown(report, model="models:/adodn-68/3", decision="the first champion")
"""

import re

from adodn.evaluate import EvaluationReport
from adodn.report import published, tables
from adodn.report import words as say
from adodn.report.blocks import Table
from adodn.report.selection import called, of_subset, usual_subset
from adodn.report.statistics import mean_error

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&:@])")


def summary_markdown(report: EvaluationReport, *, model: str, decision: str = "", subset: str = "") -> str:
    """A headline, the figures of each subset, and papers' figures beside them.

    Args:
        report: The evaluation.
        model: What it is called.
        decision: What came of it, e.g. the registry's word.
        subset: Whose mean is the headline; `full` or all faces where not given.

    Raises:
        ConfigError: If there is no such subset.
    """
    subset = subset or usual_subset(report)
    of = called(report, subset)
    lead = say.mean_sentence(mean_error(of_subset(report, subset).nme), report.normaliser, of)
    shown = [tables.headline(report, subset), *(tables.papers(group) for group in published.beside([(model, report)]))]
    paragraphs = [
        f"## {escaped(model)}",
        escaped(lead),
        escaped(decision),
        *(part for table in shown for part in (escaped(table.caption), _table(table))),
        "The interval is over faces: other faces of the same kind would have given another mean. It does not speak of "
        "another training of the same recipe.",
        f"Dataset digest `{_word(report.dataset_digest)}`, protocol {escaped(report.protocol)}.",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def escaped(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _table(table: Table) -> str:
    rule = ["---" if place == 0 or place in table.text else "--:" for place in range(len(table.heads))]
    rows = [
        [f"**{escaped(cell)}**" if place in table.strong else escaped(cell) for cell in row]
        for place, row in enumerate(table.rows)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([escaped(head) for head in table.heads], rule, *rows))


def _word(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())
