"""A model of one protocol measured on faces of another: both are mapped to where they meet.

place = meet(model_protocol, dataset_protocol)
errors = face_errors(mapped(predict, place), MetBatches(loader, place), place.protocol, "pupils")
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch

from adodn.evaluate.measuring import PredictFn, Seen
from adodn.protocols.meeting import Meeting
from adodn.samples import Batch


class MetBatches:
    """Batches with the annotation in the points where model and dataset meet; can be gone through again.

    Args:
        batches: In the dataset's own protocol.
        place: Where they meet.
    """

    def __init__(self, batches: Iterable[Batch], place: Meeting) -> None:
        self._batches, self._place = batches, place

    def __iter__(self) -> Iterator[Batch]:
        return map(self._met, self._batches) if self._place.is_crossing else iter(self._batches)

    def _met(self, batch: Batch) -> Batch:
        to_meeting = self._place.from_dataset
        return replace(
            batch,
            landmarks=to_meeting.apply(batch.landmarks),
            visible=to_meeting.visible(batch.visible),
            image_landmarks=to_meeting.apply(batch.image_landmarks),
        )


def mapped(
    predict: Callable[[torch.Tensor], torch.Tensor | Seen], place: Meeting
) -> PredictFn | Callable[[torch.Tensor], torch.Tensor | Seen]:
    """The model with its answers in the points where it and the dataset meet."""
    if not place.is_crossing:
        return predict
    to_meeting = place.from_model

    def answer(images: torch.Tensor) -> torch.Tensor | Seen:
        said = predict(images)
        if isinstance(said, Seen):
            return Seen(landmarks=to_meeting.apply(said.landmarks), visible=to_meeting.visible(said.visible))
        return to_meeting.apply(said)

    return answer
