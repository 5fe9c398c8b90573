"""What a sharded dataset promises: its manifest, and the record beside each image.

s3://BUCKET/datasets/NAME/VERSION/manifest.json     written last, so that its existence means the dataset is whole
s3://BUCKET/datasets/NAME/VERSION/train-000000.tar  members <key>.jpg and <key>.json
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Annotated, ClassVar, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adodn import protocols
from adodn.errors import ManifestError, ShardError
from adodn.protocols import LandmarkProtocol

SCHEMA_VERSION = 1

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_SHARD_NAME = r"^[a-z0-9][a-z0-9_-]*-[0-9]{6}\.tar$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"

Pixel = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePolicy:
    """How stored images were cut from the originals. Part of the dataset's identity."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    margin: Annotated[float, Field(ge=1)] = 2.0
    """Side of the stored square, as a multiple of the larger side of the face box."""
    max_px: Annotated[int, Field(ge=32)] = 384
    """Stored images are shrunk to at most this side; never enlarged."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Of images that had to be encoded again; others keep their bytes."""
    box: str = "landmarks"
    """Which box the crop is made around: `landmarks` (tight around them) or `dataset`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """One tar of the dataset."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Annotated[str, Field(pattern=_SHARD_NAME)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    samples: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The whole of a sharded dataset."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    schema_version: int = SCHEMA_VERSION
    dataset: Annotated[str, Field(pattern=_NAME)]
    version: Annotated[str, Field(pattern=_NAME)]
    protocol: str
    protocol_definition: str = ""
    """The protocol itself, as JSON, where it is a user's own and not built in."""
    image_policy: ImagePolicy
    splits: dict[str, tuple[ShardEntry, ...]]
    """Split → its shards in order. A face's index in a split is its place in this order."""
    subsets: dict[str, int] = field(default_factory=dict)
    """Subset of the test split → number of faces."""
    split_rule: str = ""
    """How train and val were parted, in words."""
    problems: tuple[str, ...] = ()
    """What the raw dataset lacked."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Faces left out on request: key → reason."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Faces left out because they cannot be read or stored, within the budget for such: key → reason."""

    @property
    def landmark_protocol(self) -> LandmarkProtocol:
        """The protocol of the landmarks.

        Raises:
            ConfigError: If it is unknown.
        """
        return protocols.get(self.protocol, self.protocol_definition)

    def num_samples(self, split: str) -> int:
        """Faces in a split; 0 for one that does not exist."""
        return sum(shard.samples for shard in self.splits.get(split, ()))

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks; `excluded` and `quarantined` only where there are such.

        So manifests from before these fields keep their digests.
        """
        fields = asdict(self)
        for name in ("excluded", "quarantined"):
            if not fields[name]:
                del fields[name]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """sha256 over the canonical manifest: the identity of the dataset, its every byte included."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str | bytes, where: str) -> "Manifest":
        """Read a manifest.

        Args:
            text: The file's content.
            where: Its address, for messages.

        Raises:
            ManifestError: If it is not a manifest, is newer than this code, or names a shard twice.
        """
        manifest = _parse(_MANIFESTS, text, where, ManifestError)
        if manifest.schema_version != SCHEMA_VERSION:
            raise ManifestError(
                f"{where}: schema_version is {manifest.schema_version}, this adodn reads {SCHEMA_VERSION}; "
                f"shard again, or update adodn"
            )
        names = [shard.name for shards in manifest.splits.values() for shard in shards]
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise ManifestError(f"{where}: shards named twice: {', '.join(twice)}")
        return manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceRecord:
    """What `<key>.json` holds, in pixels of the stored image (0, 0 = centre of its top-left pixel)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    key: Annotated[str, Field(pattern=_NAME)]
    landmarks: tuple[Pixel, ...]
    visible: tuple[bool, ...]
    box: tuple[float, float, float, float]
    stored_to_image: tuple[float, float, float]
    """scale, x, y: image pixel = scale · (stored pixel + 0.5) + (x, y) - 0.5."""
    subsets: tuple[str, ...] = ()
    group: str = ""
    image_sha256: str = ""
    """Of the original image file: the way back to the source."""
    attributes: dict[str, str | float | bool] = field(default_factory=dict)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks."""
        plain = {name: getattr(self, name) for name in self.__slots__}  # asdict copies every point: ten times slower
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str | bytes, where: str) -> "FaceRecord":
        """Read a record.

        Raises:
            ShardError: If it is not one.
        """
        return _parse(_RECORDS, text, where, ShardError)


_T = TypeVar("_T")
# Building an adapter takes longer than reading sixty records.
_MANIFESTS = TypeAdapter(Manifest)
_RECORDS = TypeAdapter(FaceRecord)


def _parse(kind: TypeAdapter[_T], text: str | bytes, where: str, error: type[ManifestError] | type[ShardError]) -> _T:
    try:
        return kind.validate_json(text)
    except ValidationError as cause:
        first = cause.errors()[0]
        field_name = ".".join(str(part) for part in first["loc"]) or "(top)"
        name = "FaceRecord" if error is ShardError else "Manifest"
        raise error(f"{where}: not a {name}: {field_name}: {first['msg']}") from None
