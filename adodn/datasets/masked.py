"""Another dataset with a drawn face mask on every face, such as Masked-300W. It brings no faces of its own.

    MaskedDataset(datasets.open("300w", Path("300w")), seed=0)
    datasets.open("masked", Path("300w"), source="300w")      # the same

Which mask a face wears is a hash of (seed, key): the same on every machine, whatever else is in the dataset. Splits,
subsets, groups, keys and landmarks are the source's; landmarks under the mask are not visible.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from adodn.data import images
from adodn.errors import ConfigError
from adodn.occlusion.masks import CUTS, PRINTS, Colour, MaskCut, MaskDesign, MaskPrint
from adodn.occlusion.wearing import Wearer
from adodn.samples import Dataset, FaceSample, SampleRef

QUALITY = 95
"""Of the JPEG that a face is stored as again."""

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


class MaskedDataset:
    """A dataset whose faces wear masks.

    Args:
        inner: Any dataset whose protocol names eyes and mouth.
        seed: Which masks.
        share: Part of the faces that wear one, chosen by the hash as well; the others stay as they are.

    Raises:
        ConfigError: If the protocol does not name eyes and mouth, or a number is out of range.
    """

    def __init__(self, inner: Dataset, *, seed: int = 0, share: float = 1.0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 or not 0 < share <= 1:
            raise ConfigError(
                f"dataset 'masked': seed is a whole number from 0 and share in 0 … 1, got {seed!r}, {share!r}"
            )
        self.name = f"masked-{inner.name}"
        self.protocol = inner.protocol
        self.problems: Sequence[str] = tuple(inner.problems)
        self._inner, self._seed, self._share = inner, seed, share
        self._wearer = Wearer(inner.protocol)

    def index(self) -> Sequence[SampleRef]:
        """The source's faces, in its order."""
        return self._inner.index()

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face of the source and put its mask on.

        Raises:
            AnnotationError: If its annotation or image cannot be read.
        """
        plain = self._inner.read(ref)
        bits = _Bits(f"{self._seed}:{ref.key}")
        if bits.fraction() >= self._share:
            return replace(plain, attributes={**plain.attributes, "mask": "none"})
        design, colour = _chosen(bits)
        pixels = images.decode(plain.image, ref.locator)
        masked, hidden = self._wearer.put_on(pixels, plain.landmarks, design)
        return replace(
            plain,
            image=images.encode(masked, quality=QUALITY),
            visible=plain.visible & ~hidden,
            attributes={**plain.attributes, "mask": design.cut, "mask_colour": colour, "mask_print": design.print},
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self.index())

    def __len__(self) -> int:
        return len(self._inner.index())


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
