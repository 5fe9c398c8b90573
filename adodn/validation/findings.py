"""What can be wrong with a face: the list of checks, and the finding of one in one face. It looks for nothing itself.

finding = Finding(face=3, key="afw_1_1", locator="afw/1_1.pts", check="tiny-face", sentence="…", score=-9.5)
finding.severity    # "warning"
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked for."""

    severity: Severity
    """`error` where sharding or evaluation would refuse the face."""
    meaning: str


CHECKS: dict[str, Check] = {
    "illegal-key": Check("error", "key or split that sharding refuses, or a key that several faces have"),
    "unreadable-face": Check("error", "annotation or image file that cannot be read"),
    "image-refused": Check("error", "not a JPEG or PNG, not 8-bit RGB or grey, or far too large"),
    "image-damaged": Check("error", "pixels that cannot be decoded, e.g. of a file that was cut"),
    "face-refused": Check("error", "face outside its image, without extent, or not of finite numbers"),
    "zero-normaliser": Check("error", "normaliser of 0 pixels, by which no error can be divided"),
    "mirrored-landmarks": Check("warning", "points named for the wrong side: left and right are exchanged"),
    "landmark-outlier": Check("warning", "single points far from where the face's other points have them"),
    "implausible-shape": Check("warning", "shape that the dataset's other faces do not explain"),
    "landmarks-outside-image": Check("warning", "points far outside the image"),
    "box-off-landmarks": Check("warning", "face box that holds less than half of the landmarks"),
    "tiny-face": Check("warning", "face whose normaliser is only a few pixels"),
    "duplicate-across-splits": Check("warning", "image that another split has too, maybe encoded again or mirrored"),
    "group-across-splits": Check("warning", "photo or person that another split has too"),
    "exif-rotation": Check("warning", "rotation flag, which is ignored: landmarks must fit the pixels as stored"),
    "not-plain-jpeg": Check("warning", "JPEG of several scans or pictures, which sharding encodes again"),
    "flawed-jpeg": Check("warning", "JPEG that decodes with complaints, so that part of it may be grey or shifted"),
}
"""By stable name, in the order of reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One check that one face fails."""

    face: int
    """Place in the dataset's index."""
    key: str
    locator: str
    check: str
    """A name in `CHECKS`."""
    sentence: str
    """The rule and the value."""
    score: float
    """Larger is worse; comparable within a check only."""
    points: tuple[int, ...] = ()
    """Landmarks that are meant; none where it is the face as a whole."""
    other: int | None = None
    """Place in the index of the face that this one collides with."""

    @property
    def severity(self) -> Severity:
        """That of its check."""
        return CHECKS[self.check].severity
