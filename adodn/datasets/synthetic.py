"""The embedded dataset: drawn faces whose landmarks and visibility are exact, so that everything runs with no download.

Not a substitute for photographs: errors on these faces say that the chain works, not how well a model does on people.

    for sample in SyntheticDataset(num_train=100, num_val=10, num_common=10, num_challenging=10):
        sample.image, sample.landmarks, sample.visible
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from adodn import protocols
from adodn.datasets.rendering.scene import (
    KINDS,
    PHOTOS_PER_PERSON,
    RenderedFace,
    check_size,
    render,
)
from adodn.errors import AnnotationError, ConfigError
from adodn.protocols import LandmarkProtocol
from adodn.samples import FaceSample, SampleRef

__all__ = ["PHOTOS_PER_PERSON", "RenderedFace", "SyntheticDataset", "render"]

JPEG_QUALITY = 95

_SPLITS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": ("train", ()),
    "val": ("val", ()),
    "common": ("test", ("common", "full")),
    "challenging": ("test", ("challenging", "full")),
}
_LOCATOR = re.compile(rf"([0-9]+)/({'|'.join(KINDS)})/([0-9]+)/([0-9]+)")


class SyntheticDataset:
    """Rendered faces with the ibug 68 landmarks; each face is a pure function of (seed, kind, index, size_px).

    The test split has the subsets `common` (mild pose, few occluders), `challenging` (large pose or heavy occlusion)
    and `full` (both). Train and val mix the two. Every person has `PHOTOS_PER_PERSON` faces, all in one split.

    Raises:
        ConfigError: If a number of faces is negative, or `seed` or `size_px` is out of range.
    """

    name = "synthetic"

    def __init__(
        self,
        *,
        seed: int = 0,
        num_train: int = 2000,
        num_val: int = 200,
        num_common: int = 200,
        num_challenging: int = 200,
        size_px: int = 160,
    ) -> None:
        self.protocol: LandmarkProtocol = protocols.get("68")
        self.problems: Sequence[str] = ()
        self._seed = seed
        self._size_px = size_px
        self._counts = dict(zip(KINDS, (num_train, num_val, num_common, num_challenging), strict=True))
        for kind, count in self._counts.items():
            if count < 0:
                raise ConfigError(f"num_{kind} must be 0 or more, got {count!r}")
        if seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {seed!r}")
        check_size(size_px)

    def index(self) -> Sequence[SampleRef]:
        """All faces: train, val, then common and challenging test faces."""
        return [self._ref(kind, index) for kind, count in self._counts.items() for index in range(count)]

    def read(self, ref: SampleRef) -> FaceSample:
        """Render one face and encode it as JPEG.

        Raises:
            AnnotationError: If the locator is not one that `index` gave.
        """
        match = _LOCATOR.fullmatch(ref.locator)
        if match is None:
            raise AnnotationError(
                f"face {ref.key!r}: a locator of the synthetic dataset reads SEED/KIND/INDEX/SIZE with KIND one of "
                f"{', '.join(KINDS)}, got {ref.locator!r}; take refs from index()"
            )
        seed, kind, index, size_px = match.groups()
        try:
            face = render(int(seed), kind, int(index), int(size_px))
        except ConfigError as error:
            raise AnnotationError(f"face {ref.key!r}: locator {ref.locator!r}: {error}") from error
        (x0, y0), (x1, y1) = face.landmarks.min(0).tolist(), face.landmarks.max(0).tolist()
        return FaceSample(
            ref=ref,
            image=encode(face.image),
            landmarks=face.landmarks,
            visible=face.visible,
            box=(x0, y0, x1, y1),
            attributes=dict(face.attributes),
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self.index())

    def __len__(self) -> int:
        return sum(self._counts.values())

    def _ref(self, kind: str, index: int) -> SampleRef:
        split, subsets = _SPLITS[kind]
        return SampleRef(
            key=f"{kind}-{index:06d}",
            locator=f"{self._seed}/{kind}/{index}/{self._size_px}",
            split=split,
            subsets=subsets,
            group=f"{kind}-person-{index // PHOTOS_PER_PERSON:06d}",
        )


def encode(image: NDArray[np.uint8]) -> bytes:
    """JPEG of quality 95 with full colour resolution; `image` is `[H, W, 3]` RGB."""
    data: bytes = simplejpeg.encode_jpeg(image, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444")
    return data
