"""Predictions as a file that leads back: with the landmarks it names the model by hashes, the photo, and the code.

made = Predictions.of(origin, image_bytes, "photo.jpg", boxes, faces)
Predictions.from_json(made.to_json(), where) == made
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adodn import __version__
from adodn.errors import DataError
from adodn.model_origin import ModelOrigin, Sha256
from adodn.predict import FacePrediction
from adodn.provenance import git_commit
from adodn.samples import Box

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """The image file that was looked at."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    """Without its folder."""
    sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """What predicted; the code that trained is known from the run."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    adodn: str
    commit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """The landmarks of the faces of one image, and everything that they follow from."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    format: Literal[1] = 1
    model: ModelOrigin
    code: Code
    image: Photo
    boxes: tuple[Annotated[tuple[float, ...], Field(min_length=4, max_length=4)], ...]
    """x0 y0 x1 y1 of each face, pixels."""
    faces: tuple[tuple[Point, ...], ...]
    """Landmarks of each face, pixels."""

    @staticmethod
    def of(
        origin: ModelOrigin, image: bytes, image_name: str, boxes: Sequence[Box], faces: Sequence[FacePrediction]
    ) -> "Predictions":
        """What a model said of an image."""
        return Predictions(
            model=origin,
            code=Code(adodn=__version__, commit=git_commit()),
            image=Photo(name=image_name, sha256=hashlib.sha256(image).hexdigest()),
            boxes=tuple(tuple(box) for box in boxes),
            faces=tuple(tuple((x, y) for x, y in face.landmarks.tolist()) for face in faces),
        )

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes, where: str) -> "Predictions":
        """Read what `to_json` wrote.

        Raises:
            DataError: If it is something else.
        """
        try:
            return _PREDICTIONS.validate_json(text)
        except ValidationError as cause:
            first = cause.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "(top)"
            raise DataError(
                f"{where}: not a prediction file of this adodn: {field}: {first['msg']}; "
                "`adodn predict … --save FILE` writes one"
            ) from None


_PREDICTIONS = TypeAdapter(Predictions)
