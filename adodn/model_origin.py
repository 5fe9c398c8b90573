"""Where a model came from: a record that exported folders and predictions carry, and that `adodn lineage` starts from.

origin = ModelOrigin(source="registry", model="models:/adodn-68/3", run_id=..., fingerprint=..., sha256=digests)
ModelOrigin.from_json(origin.to_json(), where) == origin

A claim, and not a proof: whoever can change the file can change what it says. `adodn lineage` asks the registry.
"""

import json
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adodn.errors import CheckpointError

ORIGIN = "origin.json"
"""Its name in a folder of model files."""

Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOrigin:
    """Where a model came from, by names that never change their meaning: an alias is resolved to its version."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    source: Literal["registry", "run", "folder"]
    """What it was read from first: a registered version, a run's best checkpoint, or a folder of model files."""
    model: Annotated[str, Field(pattern=r"^(models:/[^@]+/[0-9]+)?$")] = ""
    """E.g. `models:/adodn-68/3`; empty where it was not registered."""
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{0,32}$")] = ""
    """Of the MLflow run that trained it; empty where nobody said."""
    checkpoint: Annotated[str, Field(pattern=r"^(s3://.*)?$")] = ""
    """Address of the checkpoint, where `source` is `run`."""
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    """Of its experiment."""
    sha256: dict[str, Sha256]
    """File → hash: of `weights.safetensors` and `config.json`, or of the checkpoint."""

    def to_json(self) -> str:
        """JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes, where: str) -> "ModelOrigin":
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: If it is something else.
        """
        try:
            return _ORIGINS.validate_json(text)
        except ValidationError as cause:
            first = cause.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "(top)"
            raise CheckpointError(
                f"{where}: does not say where a model came from: {field}: {first['msg']}; export the model again"
            ) from None


_ORIGINS = TypeAdapter(ModelOrigin)
