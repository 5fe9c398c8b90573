"""The 600 faces of the 300W challenge's own test set, once private: 300 indoor, 300 outdoor. None is for training.

    dataset = W300PrivateDataset(Path("300W"))
    dataset.problems          # what this copy lacks, against the official counts

Images are `.png` with a `.pts` file beside each. The subset `private` is declared where both folders are whole.
"""

from typing import ClassVar

from adodn.datasets.w300 import Part, W300Dataset

_INDOOR = Part("01_Indoor", "indoor", "test", 300)
_OUTDOOR = Part("02_Outdoor", "outdoor", "test", 300)


class W300PrivateDataset(W300Dataset):
    """A copy of the test set, whole or in part.

    Args:
        root: Folder that holds `01_Indoor` and `02_Outdoor`.

    Raises:
        DataError: If the folder, or both parts in it, are missing.
        AnnotationError: If a `.pts` file has no image, or two, or a file is a link that leads out of `root`.
    """

    name = "300w-private"
    parts: ClassVar[tuple[Part, ...]] = (_INDOOR, _OUTDOOR)
    subsets: ClassVar[dict[str, tuple[Part, ...]]] = {"private": (_INDOOR, _OUTDOOR)}
