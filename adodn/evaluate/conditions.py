"""Under which conditions figures were found: which points are compared, how boxes became crops, what was changed.

    conditions.qualifier        # "via 68-to-19 approximate 7 of 19 masked 0"; ends the name of every result

Empty is the usual case: a model on a dataset of its own protocol, faces as they are stored, crops as it was trained on.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

_TIGHT = 1e-6
"""How far a tight box may be from its landmarks, as a fraction of its larger side: what scaling rounds away."""

BoxSource = Literal["landmarks", "dataset"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What a figure depends on beside model and dataset."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model_protocol: str
    dataset_protocol: str
    via: str
    """`protocols.meeting.Meeting.name`; empty where nothing is mapped."""
    guessed: tuple[str, ...]
    """Names of the points that a map only guesses."""
    maps_digest: str
    """`Meeting.digest`: two figures of one name whose maps differ are not compared."""
    box_source: BoxSource
    """`landmarks`: every face's box is tight around its annotation; `dataset`: the dataset brings boxes of its own."""
    tight_boxes: int
    """Faces whose box is tight around the annotation."""
    box_policy: str
    """What stored images were cut around, as `ImagePolicy.box`."""
    stored_margin: float
    """Of the stored images, as `ImagePolicy.margin`."""
    stored_max_px: int
    """Of the stored images, as `ImagePolicy.max_px`."""
    crop_scale: float
    """Side of the model's crop, as a multiple of the box's larger side."""
    trained_crop_scale: float
    """The one that the model was trained with."""
    input_px: int
    """Side of the model's input."""
    mask_seed: int | None
    """Which masks were put on the faces; None: none."""

    @property
    def qualifier(self) -> str:
        """What ends the name of every result."""
        masked = [] if self.mask_seed is None else [f"masked {self.mask_seed}"]
        crop = [] if self.crop_scale == self.trained_crop_scale else [f"crop {self.crop_scale:g}"]
        return " ".join([*([self.via] if self.via else []), *masked, *crop])

    def to_plain(self) -> dict[str, Any]:
        """Strings, numbers and lists."""
        return {**asdict(self), "guessed": list(self.guessed)}

    @staticmethod
    def from_plain(data: object) -> "Conditions":
        """What `to_plain` gave.

        Raises:
            ValueError: If it is something else.
        """
        try:
            return _CONDITIONS.validate_json(json.dumps(data))  # as JSON, whose lists are tuples
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "(top)"
            raise ValueError(f"conditions: {place}: {first['msg']}") from None


def tight_boxes(boxes: NDArray[np.float64], landmarks: NDArray[np.float64]) -> int:
    """How many boxes are tight around the landmarks.

    Args:
        boxes: `[N, 4]`, pixels.
        landmarks: `[N, L, 2]`, of the dataset's own protocol, the same pixels.
    """
    around = np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return int((np.abs(boxes - around).max(axis=1) <= _TIGHT * sides).sum())


_CONDITIONS = TypeAdapter(Conditions)
