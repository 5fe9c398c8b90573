"""Another dataset with a drawn face mask on every face, such as Masked-300W. It brings no faces of its own.

    MaskedDataset(datasets.open("300w", Path("300w")), seed=0)
    datasets.open("masked", Path("300w"), source="300w")      # the same

Which mask a face wears is a hash of (seed, key): the same on every machine, whatever else is in the dataset. Splits,
subsets, groups, keys and landmarks are the source's; landmarks under the mask are not visible.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from adodn.data import images
from adodn.errors import ConfigError
from adodn.occlusion.choice import chosen_mask
from adodn.occlusion.wearing import Wearer
from adodn.samples import Dataset, FaceSample, SampleRef

QUALITY = 95
"""Of the JPEG that a face is stored as again."""


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
        chosen = chosen_mask(ref.key, seed=self._seed, share=self._share)
        if chosen is None:
            return replace(plain, attributes={**plain.attributes, "mask": "none"})
        design, colour = chosen
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
