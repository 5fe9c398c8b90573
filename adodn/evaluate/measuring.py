"""Measure every face of some batches in pixels of its original image, whoever measures it and in whatever company.

errors = face_errors(predict, loader, protocol, "outer_eye_corners")
errors = joined([of_rank_0, of_rank_1])             # the same record as of one worker that measured all
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adodn.errors import DataError, TrainingDivergedError
from adodn.evaluate.faces import FaceErrors
from adodn.protocols import LandmarkProtocol
from adodn.samples import Batch

PredictFn = Callable[[torch.Tensor], torch.Tensor]
"""Images `[B, 3, S, S]` uint8 RGB → landmarks `[B, L, 2]`, fractions of the crop."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """What a model answers that tells visibility as well."""

    landmarks: torch.Tensor
    """`[B, L, 2]`, fractions of the crop."""
    visible: torch.Tensor
    """`[B, L]`, bool."""


def face_errors(
    predict: Callable[[torch.Tensor], torch.Tensor | Seen],
    batches: Iterable[Batch],
    protocol: LandmarkProtocol,
    normaliser: str,
) -> FaceErrors:
    """Measure every face in pixels of its original image.

    Args:
        predict: The model, in evaluation mode: from images `[B, 3, S, S]` uint8 RGB to landmarks `[B, L, 2]`, fractions
            of the crop, or to `Seen`.
        batches: Un-augmented faces; those repeated as padding are left out.
        protocol: Layout of the landmarks.
        normaliser: See `metrics.normaliser_of`.

    Raises:
        ConfigError: If the protocol has no such normaliser.
        DataError: If there is no face, a face comes twice, its annotation is not finite, or its normaliser is 0.
        TrainingDivergedError: If a predicted landmark is not finite.
        ValueError: If the model answers another shape, or tells visibility for some batches and not for others.
    """
    measured = [_measure(predict, batch, protocol, normaliser) for batch in batches]
    parts = [part for part in measured if part is not None]
    if not parts:
        raise DataError("evaluation needs at least one face, got none; name a split that has faces")
    return joined(parts)


def joined(parts: Sequence[FaceErrors]) -> FaceErrors:
    """What was measured in parts, as if it had been measured at once: equal to the last bit for any parts and order.

    Args:
        parts: Of the same model, e.g. of each worker; no face is in two of them.

    Raises:
        DataError: If a face comes twice.
        ValueError: If there are no parts, or they differ in protocol, normaliser, or in whether they tell visibility.
    """
    kinds = {(part.protocol.name, part.normaliser, part.predicted_visible is None) for part in parts}
    if len(kinds) != 1 or any(part.protocol != parts[0].protocol for part in parts):
        raise ValueError(f"parts must agree in protocol, normaliser and in telling visibility, got {sorted(kinds)}")
    keys = [key for part in parts for key in part.keys]
    subsets = [names for part in parts for names in part.subsets]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    told = [part.predicted_visible for part in parts if part.predicted_visible is not None]
    return FaceErrors(
        protocol=parts[0].protocol,
        normaliser=parts[0].normaliser,
        keys=tuple(keys[i] for i in order),
        subsets=tuple(subsets[i] for i in order),
        predicted=np.concatenate([part.predicted for part in parts])[order],
        target=np.concatenate([part.target for part in parts])[order],
        visible=np.concatenate([part.visible for part in parts])[order],
        boxes=np.concatenate([part.boxes for part in parts])[order],
        predicted_visible=np.concatenate(told)[order] if told else None,
    )


def to_image(fractions: torch.Tensor, crop_to_image: torch.Tensor) -> torch.Tensor:
    """Map `[B, L, 2]` crop fractions by `[B, 2, 3]` to float64 pixels of the original images, on the CPU."""
    matrix = crop_to_image.double().cpu()[:, None]
    # spelled out, because a batched matrix product may round differently for other batch sizes
    return (fractions.double().cpu()[:, :, None] * matrix[..., :2]).sum(dim=-1) + matrix[..., 2]


def _measure(
    predict: Callable[[torch.Tensor], torch.Tensor | Seen], batch: Batch, protocol: LandmarkProtocol, normaliser: str
) -> FaceErrors | None:
    """The faces of a batch that count; None where all are padding."""
    with torch.inference_mode():
        answer = predict(batch.images)
    landmarks, told = (answer.landmarks, answer.visible) if isinstance(answer, Seen) else (answer, None)
    _check_answer(landmarks, batch)
    counted = [i for i, padding in enumerate(batch.is_padding.tolist()) if not padding]
    kept = sorted(counted, key=lambda i: batch.keys[i])
    if not kept:
        return None
    return FaceErrors(
        protocol=protocol,
        normaliser=normaliser,
        keys=tuple(batch.keys[i] for i in kept),
        subsets=tuple(batch.subsets[i] for i in kept),
        predicted=to_image(landmarks, batch.crop_to_image)[kept].numpy(),
        target=batch.image_landmarks.double().cpu()[kept].numpy(),
        visible=batch.visible.cpu()[kept].numpy(),
        boxes=batch.image_boxes.double().cpu()[kept].numpy(),
        predicted_visible=None if told is None else told.cpu()[kept].numpy(),
    )


def _check_answer(landmarks: torch.Tensor, batch: Batch) -> None:
    if landmarks.shape != batch.landmarks.shape:
        raise ValueError(
            f"predict must answer {list(batch.landmarks.shape)} for this batch, got {list(landmarks.shape)}"
        )
    bad = (~landmarks.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise TrainingDivergedError(
            f"predicted landmarks must be finite, got NaN or infinity on face {batch.keys[bad[0]]!r} "
            f"({len(bad)} of {len(batch)} in its batch); go back to an earlier checkpoint"
        )
