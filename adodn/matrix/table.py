"""A matrix that was run, as a table for people and for programs.

    matrix.to_markdown(), matrix.to_csv(), matrix.to_json()

Rows are models and what they were trained on, columns the datasets they were tested on. Each number is the mean NME
over faces with a BCa bootstrap interval over these faces; it says nothing of how another training would have gone.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adodn.errors import ConfigError
from adodn.evaluate import EvaluationReport, Jittered
from adodn.matrix.cells import Cell
from adodn.settings import Settings
from adodn.statistics import paired_bootstrap_interval

CONFIDENCE = 0.95
_FIELDS = (
    *("model", "dataset", "figure", "nme", "low", "high", "num_faces", "same_data", "points", "kept", "error"),
    *("model_digest", "dataset_digest", "asked_digest", "trained_on", "address"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A cell that was evaluated."""

    model: str
    dataset: str
    figure: str
    """The full name of the figure, maps and masks included."""
    nme: float
    """Mean over faces, a fraction."""
    low: float | None
    """Of the interval; None where there is one face alone."""
    high: float | None
    num_faces: int
    same_data: bool
    """Whether the model was trained on this very dataset, its train split."""
    points: str
    """Which are compared and what they are divided by, e.g. `19 landmarks, nme@pupils via 68-to-19 …`."""
    kept: bool
    """Whether it was there already."""
    model_digest: str
    dataset_digest: str
    asked_digest: str
    trained_on: str
    """Digest of the dataset that the model was trained on."""
    address: str
    """Folder of its figures and of the errors of each face."""
    conditions: Mapping[str, Any]
    box_jitter: tuple[Jittered, ...]

    @staticmethod
    def of(
        cell: Cell, evaluation: EvaluationReport, subset: str, trained_on: str, kept: bool, places: Settings
    ) -> "Entry | str":
        """The entry of an evaluation, or why there is none.

        Args:
            cell: Which.
            evaluation: What came of it.
            subset: Of the faces.
            trained_on: Digest of the model's own data.
            kept: Whether it was there already.
            places: Where it lies.
        """
        members = evaluation.errors.members()
        if subset not in members:
            return f"no subset {subset!r} in dataset {evaluation.dataset!r}; it has {', '.join(members)}"
        values = evaluation.errors.nme[members[subset]]
        # Its mean against that of nothing: BCa over single faces.
        interval = paired_bootstrap_interval(values, np.zeros_like(values)) if len(values) > 1 else None
        figure = f"nme@{evaluation.normaliser}"
        return Entry(
            model=cell.model,
            dataset=cell.dataset,
            figure=evaluation.name(subset, figure),
            nme=evaluation.value(evaluation.name(subset, figure)),
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            num_faces=len(values),
            same_data=cell.dataset_digest == trained_on,
            points=" ".join([f"{evaluation.protocol} landmarks,", figure, evaluation.qualifier]).rstrip(),
            kept=kept,
            model_digest=cell.model_digest,
            dataset_digest=cell.dataset_digest,
            asked_digest=cell.asked_digest,
            trained_on=trained_on,
            address=cell.folder(places),
            conditions=evaluation.conditions.to_plain() if evaluation.conditions else {},
            box_jitter=evaluation.box_jitter,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """All cells of a matrix."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    subset: str
    entries: Mapping[tuple[str, str], Entry]
    """Model and dataset → what came of it."""
    failed: Mapping[tuple[str, str], str]
    """Model and dataset → why there is nothing."""

    @staticmethod
    def of(
        rows: Sequence[str],
        columns: Sequence[str],
        subset: str,
        entries: Mapping[tuple[str, str], Entry | str],
        failed: Mapping[tuple[str, str], str],
    ) -> "Matrix":
        """A matrix of what came of each cell, or why nothing did.

        Raises:
            ConfigError: If a cell is missing.
        """
        made = {place: entry for place, entry in entries.items() if isinstance(entry, Entry)}
        wrong = dict(failed) | {place: entry for place, entry in entries.items() if isinstance(entry, str)}
        absent = [(row, column) for row in rows for column in columns if not {(row, column)} & (made | wrong).keys()]
        if absent:
            raise ConfigError(f"every cell of a matrix has a number or a reason, {absent[0]} has none")
        return Matrix(rows=tuple(rows), columns=tuple(columns), subset=subset, entries=made, failed=wrong)

    @property
    def notes(self) -> dict[str, str]:
        """Which points are compared → the letter that marks them; none where all cells compare the same."""
        points = list(dict.fromkeys(entry.points for _, _, entry in self._cells() if entry is not None))
        return {} if len(points) < 2 else {name: _letters(place) for place, name in enumerate(points)}

    def shown(self, row: str, column: str) -> str:
        """A cell as text: NME in percent, its interval, and the letter of its points."""
        entry = self.entries.get((row, column))
        if entry is None:
            return "failed"
        interval = (
            "" if entry.low is None or entry.high is None else f" [{100 * entry.low:.2f}, {100 * entry.high:.2f}]"
        )
        note = self.notes.get(entry.points, "")
        return " ".join(
            [f"{100 * entry.nme:.2f}{interval}", *([note] if note else []), *(["="] if entry.same_data else [])]
        )

    def legend(self) -> list[str]:
        """What the table's marks mean, a line each."""
        lines = [f"NME in percent of subset {self.subset!r}, with {100 * CONFIDENCE:.0f} % BCa intervals over faces"]
        notes = self.notes
        if notes:
            lines += [f"{letter}: {name}" for name, letter in notes.items()]
        else:
            lines += list(dict.fromkeys(entry.points for entry in self.entries.values()))
        if any(entry.same_data for entry in self.entries.values()):
            lines.append("=: trained on the train split of this very dataset")
        return lines

    def to_markdown(self) -> str:
        """The table with its legend, the failures, and how boxes change the numbers where that was measured."""
        lines = _markdown_table(
            ["trained ↓ tested →", *self.columns],
            [[row, *(self.shown(row, column) for column in self.columns)] for row in self.rows],
        )
        lines += ["", *(f"* {line}" for line in self.legend())]
        lines += [f"* failed: {row} on {column}: {why}" for (row, column), why in self.failed.items()]
        jitter = self.jitter_rows()
        if jitter:
            names = list(dict.fromkeys(name for cells in jitter.values() for name in cells))
            body = [[*place, *(cells.get(name, "") for name in names)] for place, cells in jitter.items()]
            lines += ["", "Change of NME over all faces, in points, where boxes are off:", ""]
            lines += _markdown_table(["model", "dataset", *names], body)
        return "\n".join(lines) + "\n"

    def jitter_rows(self) -> dict[tuple[str, str], dict[str, str]]:
        """Model and dataset → change of the box → difference with its interval, as text."""
        return {
            (row, column): {
                change.change: f"{100 * change.difference:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"
                for change in entry.box_jitter
            }
            for row, column, entry in self._cells()
            if entry is not None and entry.box_jitter
        }

    def to_csv(self) -> str:
        """A line a cell; numbers are fractions that read back to the same bits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
        writer.writeheader()
        for row, column, entry in self._cells():
            failure = {"model": row, "dataset": column, "error": self.failed.get((row, column), "")}
            plain = failure if entry is None else {name: getattr(entry, name, "") for name in _FIELDS}
            writer.writerow(plain)
        return text.getvalue()

    def to_plain(self) -> dict[str, Any]:
        """Everything; values are fractions."""
        return {
            "rows": list(self.rows),
            "columns": list(self.columns),
            "subset": self.subset,
            "confidence": CONFIDENCE,
            "cells": [asdict(entry) for _, _, entry in self._cells() if entry is not None],
            "failed": [{"model": row, "dataset": column, "error": why} for (row, column), why in self.failed.items()],
        }

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_plain(), indent=2, allow_nan=False)

    def _cells(self) -> Iterator[tuple[str, str, Entry | None]]:
        for row in self.rows:
            for column in self.columns:
                yield row, column, self.entries.get((row, column))


def _letters(place: int) -> str:
    """a, b, … z, aa, ab, …"""
    head = "" if place < 26 else _letters(place // 26 - 1)
    return head + chr(ord("a") + place % 26)


def _markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines]
