"""Rendered faces as JPEG files in a folder: the raw dataset that sharding and loading are measured on.

dataset = FaceFolder(Path(folder), faces=256)
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adodn.datasets.synthetic import SyntheticDataset
from adodn.samples import FaceSample, SampleRef

SIZE_PX = 256
_RENDERED = 8
"""Different pictures; drawing more would take longer than what is measured."""


class FaceFolder:
    """A dataset whose images are files and whose annotations are at hand, so that reading it costs next to nothing.

    Args:
        folder: Where to write the files.
        faces: How many; every 8th has the same picture, in a file of its own.
    """

    name = "folder"
    problems: Sequence[str] = ()

    def __init__(self, folder: Path, *, faces: int) -> None:
        rendered = SyntheticDataset(num_train=min(faces, _RENDERED), size_px=SIZE_PX)
        self.protocol = rendered.protocol
        self._pictures = [rendered.read(ref) for ref in rendered.index() if ref.split == "train"]
        self._refs = []
        for number in range(faces):
            path = folder / f"face-{number:06d}.jpg"
            path.write_bytes(self._picture(number).image)
            self._refs.append(SampleRef(key=path.stem, locator=str(path), split="train"))

    def index(self) -> Sequence[SampleRef]:
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        path = Path(ref.locator)
        return replace(self._picture(int(path.stem[-6:])), ref=ref, image=path.read_bytes())

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def _picture(self, number: int) -> FaceSample:
        return self._pictures[number % len(self._pictures)]
