"""What came out of looking at a dataset, as JSON and as Markdown. It writes no file.

report.counts()      # {"tiny-face": 3}
report.exclusions(drop=("duplicate-across-splits",))
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass

from adodn.data.manifest import ImagePolicy
from adodn.validation.findings import CHECKS, Finding

KIND = "adodn-validation-report"
SCHEMA_VERSION = 1
LISTED = 20
"""Findings of a check that the Markdown lists; the JSON has all."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#!&])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All findings of a dataset."""

    dataset: str
    protocol: str
    policy: ImagePolicy
    """How sharding was taken to store the images."""
    splits: dict[str, int]
    """Split → faces."""
    problems: tuple[str, ...]
    """What is wrong with the dataset as a whole."""
    findings: tuple[Finding, ...]
    """By check, then the worst first."""

    @property
    def num_faces(self) -> int:
        """Faces of all splits."""
        return sum(self.splits.values())

    def of(self, check: str) -> tuple[Finding, ...]:
        """The findings of a check, the worst first."""
        return tuple(finding for finding in self.findings if finding.check == check)

    def counts(self) -> dict[str, int]:
        """Check → faces, of the checks that found something, errors first."""
        times = Counter(finding.check for finding in self.findings)
        return {check: times[check] for check in CHECKS if times[check]}

    def num_refused(self, excluded: Collection[str] = ()) -> int:
        """Faces with errors, but for those whose key is excluded."""
        errors = (finding for finding in self.findings if finding.severity == "error")
        return len({finding.face for finding in errors if finding.key not in excluded})

    def exclusions(self, drop: Collection[str] = ()) -> dict[str, str]:
        """Key → reasons, of the faces with errors and of those that fail a check named in `drop`.

        A face whose key cannot stand in a text file cannot be named, so it is not here.
        """
        reasons: dict[str, list[str]] = {}
        for finding in self.findings:
            is_named = bool(finding.key) and finding.key.isprintable()
            if is_named and (finding.severity == "error" or finding.check in drop):
                reasons.setdefault(finding.key, []).append(f"{finding.check}: {_one_line(finding.sentence)}")
        return {key: "; ".join(dict.fromkeys(said)) for key, said in sorted(reasons.items())}

    def summary(self) -> dict[str, object]:
        """All but the findings themselves."""
        counts = {name: {"faces": faces, "severity": CHECKS[name].severity} for name, faces in self.counts().items()}
        return {
            "dataset": self.dataset,
            "protocol": self.protocol,
            "image_policy": asdict(self.policy),
            "splits": self.splits,
            "faces": self.num_faces,
            "refused": self.num_refused(),
            "problems": list(self.problems),
            "checks": counts,
        }

    def to_json(self, keys: dict[int, str]) -> str:
        """Canonical JSON with a newline at its end: equal reports give equal bytes.

        Args:
            keys: Place in the index → key, for the faces that findings name as the other one.
        """
        findings = [
            {
                "key": finding.key,
                "locator": finding.locator,
                "check": finding.check,
                "severity": finding.severity,
                "sentence": finding.sentence,
                "score": round(finding.score, 6),
                "points": list(finding.points),
                "other": "" if finding.other is None else keys[finding.other],
            }
            for finding in self.findings
        ]
        content = {"kind": KIND, "schema_version": SCHEMA_VERSION, **self.summary(), "findings": findings}
        return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"

    def to_markdown(self, sheets: Collection[str] = ()) -> str:
        """The report for people.

        Args:
            sheets: Names of pictures that lie beside it, `worst-CHECK.jpg`.
        """
        return "\n".join(self._lines(sheets)) + "\n"

    def _lines(self, sheets: Collection[str]) -> Iterator[str]:
        splits = ", ".join(f"{faces} {split}" for split, faces in self.splits.items())
        yield f"# {_plain(self.dataset)}: {self.num_faces} faces, {self.num_refused()} refused"
        yield f"\n{splits}; protocol {_plain(self.protocol)}. What the checks mean: `docs/validate.md`."
        yield from (f"\n- {_plain(problem)}" for problem in self.problems)
        yield "\n| check | severity | faces |\n|---|---|--:|"
        yield from (f"| {name} | {CHECKS[name].severity} | {faces} |" for name, faces in self.counts().items())
        for name, faces in self.counts().items():
            yield f"\n## {name}\n\n{faces} of: {CHECKS[name].meaning}."
            if (sheet := f"worst-{name}.jpg") in sheets:
                yield f"\n![{name}]({sheet})"
            yield "\n| key | file | finding |\n|---|---|---|"
            yield from (
                f"| {_plain(finding.key)} | {_plain(finding.locator)} | {_plain(finding.sentence)} |"
                for finding in self.of(name)[:LISTED]
            )
            if faces > LISTED:
                yield f"\n{faces - LISTED} more in `report.json`."


def _plain(text: str) -> str:
    """Text of strangers that Markdown shows as it stands."""
    return _SPECIAL.sub(r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
