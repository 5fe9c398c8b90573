"""How faces are shown to a model at evaluation, where that is not as they are stored: a mask on, or the box moved.

    View(mask_seed=0)                   # every face wears the mask that (seed, key) gives
    View(shift=0.05)                    # the box off by 5 % of its larger side, each face's in a direction of its own
    View(scale=1.1)                     # the box a tenth larger

All of it follows from a face's key: the same on every machine, in any order and company.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adodn.data.transforms import Augmentation, Image
from adodn.errors import ConfigError
from adodn.occlusion.choice import chosen_mask
from adodn.occlusion.wearing import Wearer
from adodn.protocols import LandmarkProtocol


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What is changed of each face.

    Raises:
        ConfigError: If a number is out of range, or masks are wanted and the protocol does not name eyes and mouth.
    """

    protocol: LandmarkProtocol
    """Of the dataset."""
    shift: float = 0.0
    """How far the box moves, as a fraction of its larger side."""
    scale: float = 1.0
    """How much larger it becomes, about its centre."""
    mask_seed: int | None = None
    """Which masks the faces wear; None: none."""
    _wearer: Wearer | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shift) and math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"a view has a finite shift and a scale above 0, got {self.shift!r} and {self.scale!r}")
        if self.mask_seed is not None and self.mask_seed < 0:
            raise ConfigError(f"the seed of masks is a whole number from 0, got {self.mask_seed!r}")
        object.__setattr__(self, "_wearer", None if self.mask_seed is None else Wearer(self.protocol))

    def placing(self, keys: Sequence[str], crop_scale: float) -> Augmentation:
        """What to do to the crops of some faces so that they are those of the changed boxes.

        Args:
            keys: Of the faces, B of them.
            crop_scale: Side of the crop, as a multiple of the box's larger side.
        """
        if self.shift == 0 and self.scale == 1:
            return Augmentation()
        angles = np.array([_angle(key) for key in keys])
        # The face goes the other way in a crop that moves, by fractions of that crop's side.
        reach = -self.shift / (crop_scale * self.scale)
        return Augmentation(scale=1 / self.scale, shift_x=reach * np.cos(angles), shift_y=reach * np.sin(angles))

    def dressed(
        self, key: str, pixels: Image, landmarks: NDArray[np.float64]
    ) -> tuple[Image, NDArray[np.bool_] | None]:
        """A face with what it wears.

        Args:
            key: Of the face.
            pixels: `[H, W, 3]` or `[H, W, 4]`, the stored image, RGB first; left as it is.
            landmarks: `[L, 2]`, its pixels.

        Returns:
            The image, and `[L]`, True for landmarks that are hidden by it; None where it wears nothing.
        """
        if self._wearer is None or self.mask_seed is None:
            return pixels, None
        chosen = chosen_mask(key, seed=self.mask_seed)
        assert chosen is not None, "all faces wear a mask"
        return self._wearer.put_on(np.ascontiguousarray(pixels[..., :3]), landmarks, chosen[0])


def _angle(key: str) -> float:
    """Of a face's shift: from 0 to below 2π, in steps of 2π / 65536."""
    first, second = hashlib.sha256(f"box:{key}".encode()).digest()[:2]
    return 2 * math.pi * (256 * first + second) / 65536
