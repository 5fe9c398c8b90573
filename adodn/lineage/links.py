"""The steps of a chain, how each was checked, and how people and machines read them. Knows no step in particular.

Chain(what="models:/adodn-68/3", links=(verified("model", "models:/adodn-68/3", "9 files as registered"),)).text()
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Facts: TypeAlias = Mapping[str, object]
NOTHING: Facts = {}
State: TypeAlias = Literal["verified", "not verifiable here", "broken"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One step back."""

    step: str
    """`prediction`, `model`, `run`, `config`, `start`, `code`, `dataset`, `shards`, `sources` or `source`."""
    subject: str
    """What it is, by name."""
    state: State
    """`broken`: something is missing, or is not what the chain says."""
    why: str
    """What was compared, or why nothing could be."""
    facts: Facts = field(default_factory=dict)
    """All that is known of it, for machines."""
    lines: tuple[str, ...] = ()
    """More of it, for people."""


def verified(step: str, subject: str, why: str, facts: Facts = NOTHING, *, lines: tuple[str, ...] = ()) -> Link:
    """A step that was checked."""
    return Link(step=step, subject=subject, state="verified", why=why, facts=facts, lines=lines)


def unverified(step: str, subject: str, why: str, facts: Facts = NOTHING, *, lines: tuple[str, ...] = ()) -> Link:
    """A step that nothing here speaks for or against."""
    return Link(step=step, subject=subject, state="not verifiable here", why=why, facts=facts, lines=lines)


def broken(step: str, subject: str, why: str, facts: Facts = NOTHING, *, lines: tuple[str, ...] = ()) -> Link:
    """A step where something is missing or is not what it should be."""
    return Link(step=step, subject=subject, state="broken", why=why, facts=facts, lines=lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """All steps from one thing back to its sources."""

    what: str
    links: tuple[Link, ...]

    @property
    def broken(self) -> tuple[Link, ...]:
        """The steps that do not hold."""
        return tuple(link for link in self.links if link.state == "broken")

    def text(self) -> str:
        """For people. What a name holds that does not print, as a terminal's commands, is shown as an escape."""
        lines: list[str] = []
        for link in self.links:
            lines.append(f"{link.step:<11}{link.subject}")
            lines += [f"{'':<11}{more}" for more in (f"{link.state}: {link.why}", *link.lines)]
        return "\n".join(_printable(line) for line in lines)

    def to_json(self) -> str:
        """For machines: one object."""
        links = [
            {
                "step": link.step,
                "subject": link.subject,
                "state": link.state,
                "why": link.why,
                "facts": dict(link.facts),
            }
            for link in self.links
        ]
        return json.dumps({"what": self.what, "broken": [link.step for link in self.broken], "links": links})


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
