"""Landmarks of faces in images of any size: crop as in training, run the model, map back.

    predictor = Predictor.load("models:/adodn-68@champion")
    [face] = predictor([image], [(x0, y0, x1, y1)])
    face.landmarks                                      # [L, 2], pixels of that image

Finds no faces: boxes come from a face detector, or from the dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adodn import models
from adodn.config import ExperimentConfig
from adodn.data.transforms import Augmentation, crop_affine, move, warp
from adodn.errors import CheckpointError
from adodn.model_files import read_model
from adodn.samples import Box

_REGISTRY = "models:/"
_FACES_AT_ONCE = 32
"""Bounds the memory of a call with many faces."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FacePrediction:
    """What the model says of one face."""

    landmarks: NDArray[np.float64]
    """`[L, 2]`, pixels of the image that was given; (0, 0) is the centre of its top-left pixel."""


class Predictor:
    """A model ready for use. Gives each face the same answer, whatever else is in the call, within rounding.

    Args:
        model: Maps uint8 images `[B, 3, S, S]` to an object with `landmarks` `[B, L, 2]`, fractions of the crop.
        config: What it was trained as; says how to crop.
        device: Where to run.
    """

    def __init__(self, model: torch.nn.Module, config: ExperimentConfig, *, device: str | torch.device = "cpu") -> None:
        self.config = config
        self._device = torch.device(device)
        # torch's stubs do not know this overload
        self._model = model.to(self._device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @classmethod
    def load(cls, uri: str | Path, *, device: str | torch.device = "cpu") -> "Predictor":
        """Load a model.

        Args:
            uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION` of the registry, or a folder that holds
                `weights.safetensors` and `config.json`.
            device: Where to run.

        Raises:
            CheckpointError: If files are missing, damaged, or do not fit the model.
            TrackingError: If the registry cannot be reached or has no such model.
        """
        if str(uri).startswith(_REGISTRY):
            from adodn import registry  # MLflow takes seconds to import, and a folder needs none of it

            state, config = registry.load_state(str(uri))
        else:
            state, config = read_model(Path(uri))
        model = models.build(config.model)
        try:
            model.load_state_dict(state)
        except RuntimeError as cause:
            raise CheckpointError(f"{uri}: weights do not fit the model of their config: {cause}") from cause
        return cls(model, config, device=device)

    def __call__(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]) -> list[FacePrediction]:
        """Find the landmarks of one face in each image.

        Args:
            images: `[H, W, 3]`, uint8 RGB, of any sizes; an image with two faces comes twice.
            boxes: x0 y0 x1 y1 of each face, pixels of its image.

        Raises:
            ValueError: If an image is not uint8 `[H, W, 3]`, a box has no area, or their numbers differ.
        """
        if len(images) != len(boxes):
            raise ValueError(f"each image needs one box, got {len(images)} images and {len(boxes)} boxes")
        for position, (image, box) in enumerate(zip(images, boxes, strict=True)):
            _check(image, box, position)
        faces: list[FacePrediction] = []
        for start in range(0, len(images), _FACES_AT_ONCE):
            faces += self._predict(images[start : start + _FACES_AT_ONCE], boxes[start : start + _FACES_AT_ONCE])
        return faces

    def _predict(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]) -> list[FacePrediction]:
        side = self.config.model.input_px
        crops = np.empty((len(images), side, side, 3), dtype=np.uint8)
        scale = self.config.data.crop_scale
        affines = crop_affine(np.asarray(boxes, np.float64), crop_scale=scale, augmentation=Augmentation())
        for image, affine, crop in zip(images, affines, crops, strict=True):
            warp(np.ascontiguousarray(image), affine, crop)
        with torch.inference_mode():
            batch = torch.from_numpy(crops).permute(0, 3, 1, 2).to(self._device)
            fractions = self._model(batch).landmarks.double().cpu().numpy()
        pairs = zip(fractions, affines, strict=True)
        return [FacePrediction(landmarks=move(landmarks, affine)) for landmarks, affine in pairs]


def _check(image: NDArray[np.uint8], box: Box, position: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image {position} must be a uint8 array [H, W, 3], RGB, got {got}")
    if 0 in image.shape:
        raise ValueError(f"image {position} must have pixels, got {list(image.shape)}")
    edges = np.asarray(box, dtype=np.float64)
    if edges.shape != (4,) or not np.isfinite(edges).all() or edges[2] <= edges[0] or edges[3] <= edges[1]:
        raise ValueError(f"box {position} must be x0 y0 x1 y1 with x1 > x0 and y1 > y0, got {box!r}")
