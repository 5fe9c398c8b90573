"""Eight rendered faces that are kept as a file, so that no renderer, crop or JPEG decoder has a say in the losses.

    images, landmarks = faces()

python -m tests.golden.faces writes them anew; the losses must follow.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adodn.data import images, transforms
from adodn.datasets.synthetic import SyntheticDataset

SIDE_PX = 64
COUNT = 8
_ACROSS = 4
PICTURE = Path(__file__).with_name("faces.png")
LANDMARKS = Path(__file__).with_name("faces.json")


def faces() -> tuple[Tensor, Tensor]:
    """Images `[8, 3, 64, 64]`, uint8 RGB, and landmarks `[8, 68, 2]`, float32 fractions of the crop."""
    sheet = np.asarray(Image.open(PICTURE))
    tiles = sheet.reshape(-1, SIDE_PX, _ACROSS, SIDE_PX, 3).swapaxes(1, 2).reshape(COUNT, SIDE_PX, SIDE_PX, 3)
    return torch.from_numpy(tiles.copy()).permute(0, 3, 1, 2), torch.tensor(json.loads(LANDMARKS.read_text()))


def write() -> None:
    """Render, crop and keep the faces."""
    tiles, landmarks = np.empty((COUNT, SIDE_PX, SIDE_PX, 3), np.uint8), []
    for face, tile in zip(
        SyntheticDataset(num_train=COUNT, num_val=0, num_common=0, num_challenging=0), tiles, strict=True
    ):
        affine = transforms.crop_affine(np.array(face.box), crop_scale=1.3, augmentation=transforms.Augmentation())
        transforms.warp(images.decode(face.image, face.ref.key), affine, tile)
        landmarks.append(transforms.move(face.landmarks, transforms.invert(affine)).round(4).tolist())
    rows = tiles.reshape(-1, _ACROSS, SIDE_PX, SIDE_PX, 3).swapaxes(1, 2)
    Image.fromarray(rows.reshape(-1, _ACROSS * SIDE_PX, 3)).save(PICTURE, optimize=True)
    LANDMARKS.write_text(json.dumps(landmarks, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    write()
