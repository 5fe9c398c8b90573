"""Faces as a model sees them, picked out of batches by their keys: what pictures of an evaluation are drawn on.

crops = gather(loader, {"face-3", "face-9"})
crops["face-3"].pixels_of(errors.target[3])     # [L, 2], pixels of the crop
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adodn.samples import Batch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crop:
    """One face, cut out."""

    image: NDArray[np.uint8]
    """`[S, S, 3]`, RGB."""
    crop_to_image: NDArray[np.float64]
    """`[2, 3]`, as in `Batch`."""

    def pixels_of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points `[L, 2]` of the original image as pixels of the crop, (0, 0) being the centre of its first."""
        to_crop = np.linalg.inv(self.crop_to_image[:, :2])
        pixels: NDArray[np.float64] = (points - self.crop_to_image[:, 2]) @ to_crop.T * len(self.image) - 0.5
        return pixels


def gather(batches: Iterable[Batch], keys: Collection[str]) -> dict[str, Crop]:
    """The crops of some faces, un-augmented ones as an evaluation sees them.

    Raises:
        ValueError: If a face is not in the batches.
    """
    wanted, found = set(keys), dict[str, Crop]()
    for batch in batches if wanted else ():
        for place, key in enumerate(batch.keys):
            if key in wanted and key not in found:
                found[key] = _crop(batch, place)
    absent = sorted(wanted - found.keys())
    if absent:
        raise ValueError(f"the batches must hold every face that is drawn, {absent[0]!r} is not among them")
    return found


def _crop(batch: Batch, place: int) -> Crop:
    image = batch.images[place].permute(1, 2, 0).contiguous().cpu().numpy()
    return Crop(image=image, crop_to_image=batch.crop_to_image[place].cpu().numpy())
