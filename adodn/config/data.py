"""Which faces an experiment sees, and how they are cropped, changed and covered.

DataConfig(augment=AugmentConfig(rotation_deg=25.0, shear=0.1))
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import ConfigDict, Field

from adodn import protocols
from adodn.config.ranges import STRICT, Fraction, Positive
from adodn.errors import ConfigError
from adodn.protocols import LandmarkProtocol

Occluder: TypeAlias = Literal[
    "cup", "fringe", "hand", "mask", "patch", "pattern", "phone", "scarf", "sunglasses", "texture"
]
"""What can cover part of a training face; `docs/occlusion.md` shows them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """Random changes to a training face. Defaults are the ADODN paper's; those that it does not give say so."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 30.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Scale is drawn from 1 - scale … 1 + scale."""
    translation: Fraction = 0.1
    """Shift in each axis, as a fraction of the crop's side."""
    shear: Fraction = 0.0
    """Sideways shift from top to bottom, as a fraction of the height, drawn from -shear … shear. ADODN has none."""
    box_jitter: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """How far each edge of the face box is moved, as a fraction of the box's width or height. ADODN has none."""
    flip_probability: Fraction = 0.5
    brightness: Fraction = 0.3
    """The paper jitters light and colour without saying how much; so for the next two."""
    contrast: Fraction = 0.3
    saturation: Fraction = 0.3
    occlusion_probability: Fraction = 0.0
    """How often something covers part of the face, drawn over it. Not in the paper."""
    occluders: tuple[Occluder, ...] = (
        "cup",
        "fringe",
        "hand",
        "mask",
        "patch",
        "phone",
        "scarf",
        "sunglasses",
        "texture",
    )
    """What it may be, each equally often."""
    occlusion_patterns: str = ""
    """sha256 of a file of patterns, for the occluder `pattern`; `adodn train --patterns FILE` fills it in."""

    def __post_init__(self) -> None:
        odd = [name for name in self.occluders if name not in get_args(Occluder) or self.occluders.count(name) > 1]
        if odd or not self.occluders:
            raise ConfigError(
                f"config field data.augment.occluders must name at least one of {', '.join(get_args(Occluder))}, each "
                f"once, got {list(self.occluders)!r}; to cover no face, set occlusion_probability to 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One of the datasets that cross-protocol training (CNT) mixes."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    """Of the dataset, as its manifest has it."""
    dataset: str
    """Digest of its manifest."""
    protocol: str
    """Its landmark protocol, and so the branch its faces take."""
    protocol_definition: str = ""
    """As `ModelConfig.protocol_definition`."""

    @property
    def branch(self) -> tuple[str, str]:
        """What its branch is known by: datasets in which this is the same share one."""
        return self.protocol, self.protocol_definition

    @property
    def landmark_protocol(self) -> LandmarkProtocol:
        """The protocol of its landmarks.

        Raises:
            ConfigError: If it is unknown.
        """
        return protocols.get(self.protocol, self.protocol_definition)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which faces are seen, and how they are cropped."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    dataset: str = ""
    """Digest of the dataset's manifest; filled in when the experiment meets its data."""
    sources: tuple[Source, ...] = ()
    """Datasets of the first stage of cross-protocol training, in place of `dataset`; filled in likewise."""
    crop_scale: Positive = 1.3
    """Side of the crop, as a multiple of the larger side of the face box."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the manifests of all datasets that are trained on; none before the experiment meets its data."""
        named = tuple(source.dataset for source in self.sources) or (self.dataset,)
        return tuple(digest for digest in named if digest)
