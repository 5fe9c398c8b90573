"""The network of an experiment, and the weights of its loss.

ModelConfig(backbone="mobilenet_v2", geometry="none", occlusion="none", low_rank=False)
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from adodn import protocols
from adodn.config.ranges import STRICT, Count, Fraction, NonNegative, Positive
from adodn.errors import ConfigError
from adodn.protocols import LandmarkProtocol


@dataclass(frozen=True, kw_only=True, slots=True)
class SepBNConfig:
    """Separable batch normalisation in the backbone. Defaults are its paper's, but for `placement`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    placement: Literal["none", "all", "block_ends"] = "none"
    """Which batch norms of the backbone it replaces: `all`, the paper's choice for Vanilla CNN, or the last of every
    residual unit (its BN3), the choice for ResNeXt-50 and MobileNetV2."""
    branches: Count = 3
    """K: sets of scale and shift."""
    groups: Count = 2
    """G: groups of channels that choose among the branches each for itself."""
    pool: Count = 3
    """T: side of the map that the attention looks at."""
    attention: Literal["grouped", "squeeze"] = "grouped"
    """`grouped` is the paper's; `squeeze` its simple form (Eqs. 3-5), which gives the published number of parameters
    where `groups` is 1."""
    hidden: Annotated[int, Field(ge=0)] = 0
    """Width of the attention's hidden layer, which the paper does not give; 0: that of its input, G·T²."""
    aggregation: Literal["soft", "hard"] = "soft"
    """Branches mixed by their weights, or the heaviest alone; the paper finds the latter worse than no SepBN."""
    temperature: Positive = 30.0
    """τ of the softmax in the first epoch."""
    temperature_epochs: Count = 30
    """Epochs in which it falls linearly to 1, which it is in the last of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network. Defaults are ADODN as its paper has it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    protocol: str = "68"
    """Landmark protocol of the output; that of the dataset, once the experiment meets its data."""
    protocol_definition: str = ""
    """The protocol itself, as JSON, where it is a user's own and not built in."""
    backbone: Literal["resnet18", "resnext50_32x4d", "mobilenet_v2", "vanilla_cnn"] = "resnet18"
    """Only the first two end in a residual unit that an occlusion module can take the place of."""
    input_px: Annotated[int, Field(ge=32, multiple_of=32)] = 224
    """Side of the square input; for vanilla_cnn a multiple of 64."""
    geometry: Literal["outer_product", "row_column", "none"] = "outer_product"
    """Geometry-aware module: ADODN's channel-wise outer product (Eq. 1), ODN's row/column product, or left out."""
    occlusion: Literal["attentive_dropout", "distillation", "none"] = "attentive_dropout"
    """Occlusion module: ADODN's attentive dropout, ODN's distillation, or none: the residual unit stays plain."""
    low_rank: bool = True
    """Low-rank module (Eq. 5); without it the fully connected layer reads the features directly."""
    hidden_width: Annotated[int, Field(ge=0)] = 0
    """Width of a hidden layer with LeakyReLU before the last linear layer, 0: none; not together with `low_rank`.
    Vanilla CNN's table prints 1024; its published number of parameters takes 2048."""
    reduction: Count = 8
    """r: the modules' width is C / r."""
    rank_width: Count = 256
    """k: columns of the low-rank matrix M. The paper does not give it."""
    grid: Count = 4
    """Side to which the joined feature maps are down-sampled before they are flattened. The paper does not give it."""
    drop_probability: Fraction = 0.5
    """p: how often the drop mask is taken instead of the importance map (Eq. 3)."""
    drop_threshold: NonNegative = 0.8
    """τ_d: positions whose attention lies above it are dropped. The paper searches it and does not name its value."""
    threshold_mode: Literal["relative", "absolute"] = "relative"
    """`relative`: τ_d is a fraction of each sample's largest attention, so it does not depend on the scale of the
    features; `absolute`: the paper's formula to the letter."""
    switch: Literal["step", "sample"] = "step"
    """One draw for a whole training step, as the paper says, or one for each sample, which mixes both masks in a step
    and so varies its gradient less."""
    drop_warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs in which the importance map is always taken; the paper warms up without saying how long."""
    evaluation_mask: Literal["importance", "drop", "expectation"] = "importance"
    """The mask outside training, of which the paper says nothing. `importance`: M_i, which hides no place that may be
    needed. `drop`: M_d, to see what is left when the foremost place is hidden. `expectation`: p M_d + (1 - p) M_i, the
    mean over what training drew, as dropout layers have it."""
    batch_norm_faces: Count = 16
    """Faces over which one batch norm takes its statistics in training. It divides the global batch, so that the
    result does not depend on how many workers share that batch."""
    batch_norm: Literal["virtual", "synchronised"] = "virtual"
    """Statistics over `batch_norm_faces` faces, or over the whole global batch, exchanged between workers: that trains
    on CUDA only. Neither depends on the number of workers."""
    sepbn: SepBNConfig = field(default_factory=SepBNConfig)
    initial_weights: str | None = None
    """sha256 of a `state_dict` the trunk starts from; None: random."""
    head: Literal["modules", "cnt_branch"] = "modules"
    """What follows the trunk: the modules above, or a branch of cross-protocol training (CNT), which has none."""
    branch_kernel: Literal[1, 3] = 3
    """Side of a CNT branch's convolution. The paper does not give it; all in its Table I are 3 × 3."""

    def __post_init__(self) -> None:
        if self.occlusion != "none" and self.backbone in ("mobilenet_v2", "vanilla_cnn"):
            raise ConfigError(
                f"model.occlusion must be 'none' with the backbone {self.backbone!r}, got {self.occlusion!r}: the "
                "module replaces a last residual unit, which that backbone lacks; use resnet18 or resnext50_32x4d"
            )
        if self.low_rank and self.hidden_width:
            raise ConfigError(
                f"model.hidden_width must be 0 with model.low_rank, got {self.hidden_width}: either goes before the "
                "last layer; set model.low_rank=false"
            )
        if self.backbone == "vanilla_cnn":
            self._check_vanilla_cnn()
        modules = (self.geometry, self.occlusion, self.low_rank)
        if self.head == "cnt_branch" and modules != ("none", "none", False):
            raise ConfigError(
                "model.head 'cnt_branch' goes with model.geometry 'none', model.occlusion 'none' and model.low_rank "
                f"false, got {', '.join(map(repr, modules))}; a branch has a regressor of its own"
            )

    def _check_vanilla_cnn(self) -> None:
        if self.input_px % 64:
            raise ConfigError(
                f"model.input_px must be a multiple of 64 with vanilla_cnn, which halves it six times, got "
                f"{self.input_px}; its paper has 128"
            )
        if self.sepbn.placement == "block_ends":
            raise ConfigError(
                "model.sepbn.placement must be 'all' or 'none' with vanilla_cnn, which has no residual units, got "
                "'block_ends'; its paper has 'all'"
            )

    @property
    def landmark_protocol(self) -> LandmarkProtocol:
        """The protocol of the output.

        Raises:
            ConfigError: If it is unknown.
        """
        return protocols.get(self.protocol, self.protocol_definition)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Weights of the terms of ADODN's Eq. 6, which is ODN's Eq. 3 but for P″. Defaults are both papers'."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    regression: Literal["squared", "l1", "smooth_l1", "wing"] = "squared"
    """Distance between landmarks: squared Frobenius norm (ADODN, ODN), L1 (CNT), or smooth L1 and wing loss, which
    weigh small distances more than the square does; `losses.REGRESSIONS` has their equations."""
    nuclear_norm: NonNegative = 1e-6
    """β, on the nuclear norm of M."""
    response_l1: NonNegative = 1e-6
    """η′, on the response map P′ of ADODN; η, on P of ODN."""
    importance_l1: NonNegative = 1e-6
    """η″, on the importance map P″. P″ has no weights of its own: its gradient goes into the trunk. ODN has none."""
    low_rank_decay: NonNegative = 1e-5
    """γ, on the squared Frobenius norm of M."""
    convolution_decay: NonNegative = 1e-5
    """α, on the squared Frobenius norm of the convolutions."""
    head_decay: NonNegative = 1e-5
    """λ, on the squared Frobenius norm of the fully connected layer."""
