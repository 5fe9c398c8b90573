"""Another dataset with the landmarks of another protocol, by a map of `adodn.protocols.maps`. It brings no faces.

    MappedDataset(datasets.open("synthetic", None), "29")
    datasets.open("mapped", None, source="synthetic", protocol="29")      # the same

Most maps are guesses at where another protocol would have put its points, good to their `residual`; that is told among
the dataset's problems. It is for what needs a second protocol, such as trying cross-protocol training; scores on it
are not those of a dataset that was annotated so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from adodn.protocols.maps import get_map
from adodn.samples import Dataset, FaceSample, SampleRef


class MappedDataset:
    """A dataset whose landmarks are mapped.

    Args:
        inner: Any dataset.
        protocol: Name of the protocol to map to.

    Raises:
        ConfigError: If there is no map from the dataset's protocol to it.
    """

    def __init__(self, inner: Dataset, protocol: str) -> None:
        self._inner, self._map = inner, get_map(inner.protocol.name, protocol)
        self.name = f"{inner.name}-as-{protocol}"
        self.protocol = self._map.target
        told = () if self._map.exact else (f"landmarks are mapped, {self._map.name}, and not annotated",)
        self.problems: Sequence[str] = (*inner.problems, *told)

    def index(self) -> Sequence[SampleRef]:
        """The source's faces, in its order."""
        return self._inner.index()

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one face of the source and map its landmarks; one is visible where all it is made of are.

        Raises:
            AnnotationError: If its annotation or image cannot be read.
        """
        face = self._inner.read(ref)
        return replace(face, landmarks=self._map.apply(face.landmarks), visible=self._map.visible(face.visible))

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self.index())

    def __len__(self) -> int:
        return len(self._inner.index())
