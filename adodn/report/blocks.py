"""What a page is made of: plain records that the template lays out. All text in them is untrusted and is escaped there.

Section(title="Headline", blocks=(Paragraph(text="…"), Table(heads=("subset", "NME"), rows=(("all", "3.97 %"),))))
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """A few sentences."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of text under heads. The first column names the row."""

    kind: ClassVar[str] = "table"
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    """Places of rows that stand out."""
    text: frozenset[int] = frozenset()
    """Places of columns that hold words, set left, rather than numbers; the first always does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One image."""

    uri: str
    """`data:` and nothing else."""
    alt: str
    caption: str = ""
    name: str = ""
    """Stands out before the caption."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """Pictures side by side where there is room, with one caption."""

    kind: ClassVar[str] = "figure"
    pictures: tuple[Picture, ...]
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Small pictures of faces, in rows under titles, with one caption."""

    kind: ClassVar[str] = "gallery"
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    """Title of each row, and its faces."""
    caption: str
    columns: int = 6
    """How many faces stand side by side on a wide page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """Text that is shown on demand, as it is."""

    kind: ClassVar[str] = "details"
    title: str
    text: str


Block: TypeAlias = Paragraph | Bullets | Table | Figure | Gallery | Details


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A whole report."""

    title: str
    lead: str
    sections: tuple[Section, ...]
