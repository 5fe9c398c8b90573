"""The picture of all occluders and masks for the documentation, on rendered faces only.

python -m adodn.occlusion.picture docs/occlusion.jpg
"""

import sys
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from adodn import datasets
from adodn.config import AugmentConfig
from adodn.config import Occluder as Kind
from adodn.data import images, transforms
from adodn.datasets.masked import MaskedDataset
from adodn.occlusion.board import uniform
from adodn.occlusion.occluder import NUM_DRAWS, Occluder, Occlusion
from adodn.occlusion.patterns import Patterns
from adodn.protocols import LandmarkProtocol
from adodn.samples import FaceSample

Image: TypeAlias = NDArray[np.uint8]

TILE_PX = 136
COLUMNS = 8
_SEED = 3


def picture() -> Image:
    """`[H, W, 3]`: a row for each kind of occluder by name, then two rows of faces of a masked dataset."""
    dataset = datasets.open("synthetic", seed=_SEED, num_train=0, num_val=0, num_common=60, size_px=224)
    faces = [face for face in dataset if face.attributes["occluder"] == "none"][: 2 * COLUMNS]
    occluder = Occluder(dataset.protocol, AugmentConfig(), _patterns(dataset.protocol))
    rows = [_covered(occluder, kind, number, faces[:COLUMNS]) for number, kind in enumerate(sorted(get_args(Kind)))]
    masked = MaskedDataset(dataset)
    tiles = [_crop(masked.read(face.ref))[0] for face in faces]
    return np.concatenate([*rows, np.concatenate(tiles[:COLUMNS], 1), np.concatenate(tiles[COLUMNS:], 1)])


def write(path: Path) -> None:
    """Write the picture as JPEG."""
    path.write_bytes(images.encode(picture(), quality=82))


def _covered(occluder: Occluder, kind: str, number: int, faces: list[FaceSample]) -> Image:
    tiles = []
    for place, face in enumerate(faces):
        crop, landmarks = _crop(face)
        occluder.cover(crop, landmarks, Occlusion(kind, tuple(uniform(NUM_DRAWS, 5000 + 100 * number + place))))
        tiles.append(crop)
    return np.concatenate(tiles, 1)


def _crop(face: FaceSample) -> tuple[Image, NDArray[np.float64]]:
    affine = transforms.crop_affine(np.array([face.box]), crop_scale=1.45, augmentation=transforms.Augmentation())[0]
    crop = np.empty((TILE_PX, TILE_PX, 3), np.uint8)
    transforms.warp(images.decode(face.image, face.ref.key), affine, crop)
    return crop, transforms.move(face.landmarks, transforms.invert(affine))


def _patterns(protocol: LandmarkProtocol) -> Patterns:
    """Made up, not measured: one half of the face, the brows and an eye, the mouth, one side of the jaw."""
    shape = np.zeros((protocol.num_landmarks, 2))
    groups = (
        (*range(8), *range(17, 22), *range(36, 42)),
        (*range(17, 28), *range(42, 48)),
        range(48, 68),
        range(9, 17),
    )
    hidden = np.zeros((len(groups), protocol.num_landmarks), np.bool_)
    for row, points in zip(hidden, groups, strict=True):
        row[list(points)] = True
    return Patterns(protocol=protocol, mean_shape=shape, hidden=hidden)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m adodn.occlusion.picture FILE.jpg")
    write(Path(sys.argv[1]))
