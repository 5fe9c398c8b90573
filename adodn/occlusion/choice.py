"""Which mask a face wears: a hash of (seed, key), the same on every machine, whatever else is in the dataset.

design, colour = chosen_mask("helen-train-0001", seed=0)
"""

import hashlib

from adodn.occlusion.masks import CUTS, PRINTS, Colour, MaskCut, MaskDesign, MaskPrint

_PAPER: dict[str, Colour] = {
    "light blue": (160, 196, 212),
    "white": (232, 234, 234),
    "green": (160, 194, 178),
    "pink": (224, 188, 196),
    "black": (42, 43, 47),
}
_COTTON: dict[str, Colour] = {
    "black": (38, 38, 42),
    "grey": (124, 126, 130),
    "navy": (42, 58, 98),
    "red": (168, 46, 52),
    "green": (74, 108, 78),
    "beige": (206, 184, 152),
    "purple": (104, 70, 130),
}
_LIGHT: Colour = (236, 234, 226)
_SLACKS = (0.0, 0.0, 0.2)
"""How far masks hang below the bridge of the nose, in face units; few, so that drawn masks can be used again."""
_FOLDS = 3
"""Ways in which a mask's folds and print fall."""


def chosen_mask(key: str, *, seed: int, share: float = 1.0) -> tuple[MaskDesign, str] | None:
    """The mask of a face and the name of its colour, or None if it wears none.

    Args:
        key: Of the face.
        seed: Which masks.
        share: Part of the faces that wear one.
    """
    bits = _Bits(f"{seed}:{key}")
    return None if bits.fraction() >= share else _chosen(bits)


class _Bits:
    """Choices that follow from a text alone."""

    def __init__(self, text: str) -> None:
        self._bytes = iter(hashlib.sha256(f"mask:{text}".encode()).digest())

    def fraction(self) -> float:
        """From 0 to below 1, in steps of 1/65536."""
        return (256 * next(self._bytes) + next(self._bytes)) / 65536

    def below(self, count: int) -> int:
        return int(self.fraction() * count)


def _chosen(bits: _Bits) -> tuple[MaskDesign, str]:
    """The mask, and the name of its colour."""
    cut: MaskCut = CUTS[bits.below(len(CUTS))]
    colours = _PAPER if cut in ("surgical", "ffp2", "duckbill") else _COTTON
    names = sorted(colours)
    name = names[bits.below(len(names))]
    printed = colours is _COTTON and bits.fraction() < 0.6
    pattern: MaskPrint = PRINTS[1 + bits.below(len(PRINTS) - 1)] if printed else "plain"
    design = MaskDesign(
        cut=cut,
        colour=colours[name],
        second=_LIGHT,
        print=pattern,
        seed=bits.below(_FOLDS),
        slack=_SLACKS[bits.below(len(_SLACKS))],
    )
    return design, name
