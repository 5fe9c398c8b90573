"""What an experiment computes, as frozen dataclasses. Where and how it runs is in `settings.py` and never here.

config = recipes.get("adodn_300w")
config.fingerprint()          # the same on every machine, changed by anything that changes the result
ExperimentConfig.from_json(config.to_json()) == config
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adodn import protocols
from adodn.errors import ConfigError
from adodn.protocols import LandmarkProtocol

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

Occluder: TypeAlias = Literal[
    "cup", "fringe", "hand", "mask", "patch", "pattern", "phone", "scarf", "sunglasses", "texture"
]
"""What can cover part of a training face; `docs/occlusion.md` shows them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SepBNConfig:
    """Separable batch normalisation in the backbone. Defaults are its paper's, but for `placement`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

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

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

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

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

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


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """Random changes to a training face. Defaults are the ADODN paper's; those that it does not give say so."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

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

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

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

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    dataset: str = ""
    """Digest of the dataset's manifest; filled in when the experiment meets its data."""
    sources: tuple[Source, ...] = ()
    """Datasets of the first stage of cross-protocol training, in place of `dataset`; filled in likewise."""
    crop_scale: Positive = 1.3
    """Side of the crop, as a multiple of the larger side of the face box."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Optimiser, schedule, length and arithmetic."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    epochs: Count = 200
    """At most; early stopping usually ends sooner."""
    global_batch: Count = 32
    """Faces a step, over all workers together."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    optimiser: Literal["adam", "sgd"] = "adam"
    """`adam` is ADODN's, `sgd` that of cascaded networks (CNT)."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of `sgd`. The schedule `one_cycle` moves it, and Adam's first β, between 0.85 and 0.95."""
    weight_decay: NonNegative = 0.0
    """Added to the gradient as this factor times the weight, beside what the loss says for its three groups. Never on
    batch norms and biases."""
    learning_rate: Positive = 1e-3
    trunk_learning_rate: Positive | None = None
    """Of the trunk alone; schedules scale it as they scale the other. None: the same."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate climbs: linearly from 0, or in `one_cycle` along its cosine, where 0 is 30 %
    of all steps."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """The same in epochs, where `warmup_steps` is 0: as CNT gives it, whose datasets differ in size."""
    schedule: Literal["plateau", "one_cycle", "cosine"] = "plateau"
    """`plateau` is ADODN's; `one_cycle` climbs and anneals over `epochs`; `cosine` falls over `epochs` from
    `learning_rate` to `final_learning_rate`, as CNT's."""
    final_learning_rate: NonNegative = 0.0
    """What `cosine` ends at; the trunk's own rate falls by the same factor."""
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    plateau_patience: Count = 15
    """Epochs without gain before the learning rate drops; the paper does not give it."""
    early_stop_patience: Count = 50
    """Epochs without gain before training ends."""
    gradient_clip: Positive | None = None
    """A gradient whose total norm is larger is shortened to it; None: never."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The model that is measured and kept is a running average of the weights, of which each step leaves this share;
    None: the weights themselves."""
    freeze: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Parameters whose names begin with one of these stay as they are, running statistics included, e.g. `trunk.`."""
    initial_model: str | None = None
    """sha256 of a whole model that training starts from; `adodn train --from-model` fills it in. None: random."""
    deterministic: bool = False
    """Whether two runs on one machine must give equal bits: slower kernels, and none that cannot promise it."""
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    """`bf16` runs convolutions under autocast; losses and the low-rank module stay in fp32. `fp64` is for proofs:
    in fp32, training magnifies the rounding of another order of summation to a per cent within tens of steps."""

    def __post_init__(self) -> None:
        if self.final_learning_rate > self.learning_rate:
            raise ConfigError(
                f"config field train.final_learning_rate must be at most train.learning_rate {self.learning_rate!r}, "
                f"got {self.final_learning_rate!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentConfig:
    """Everything that decides what an experiment computes."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    """For people; not part of the fingerprint."""
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        faces, batch = self.model.batch_norm_faces, self.train.global_batch
        if batch % faces:
            raise ConfigError(
                f"model.batch_norm_faces must divide train.global_batch, got {faces} and {batch}; "
                f"choose a divisor of {batch}"
            )
        if self.data.sources and self.model.head != "cnt_branch":
            raise ConfigError(
                f"data.sources go with model.head 'cnt_branch', got {self.model.head!r}; train on one dataset instead"
            )
        if self.model.initial_weights and self.train.initial_model:
            raise ConfigError(
                f"training starts from weights of the trunk (model.initial_weights {self.model.initial_weights!r}) or "
                f"from a whole model (train.initial_model {self.train.initial_model!r}), not both; leave one out"
            )

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "ExperimentConfig":
        """Read what `to_json` wrote.

        Raises:
            ConfigError: If a key is unknown, or a value is outside its range.
        """
        return _validated(json.loads(text))

    def with_fields(self, changes: dict[str, object]) -> "ExperimentConfig":
        """A copy with dotted fields replaced, e.g. `{"train.epochs": 3}`.

        Raises:
            ConfigError: If a field does not exist, or a value is outside its range.
        """
        tree = asdict(self)
        for path, value in changes.items():
            *parents, leaf = path.split(".")
            node = tree
            for parent in parents:
                node = node.get(parent, {}) if isinstance(node, dict) else {}
            if not isinstance(node, dict) or leaf not in node:
                raise ConfigError(f"config has no field {path!r}")
            node[leaf] = value
        return _validated(tree)

    def on_dataset(self, digest: str, protocol: LandmarkProtocol) -> "ExperimentConfig":
        """This experiment on the dataset whose manifest has that digest, predicting its landmarks."""
        definition = protocols.own_definition(protocol)
        model = replace(self.model, protocol=protocol.name, protocol_definition=definition)
        return replace(self, model=model, data=replace(self.data, dataset=digest))

    def on_sources(self, sources: Iterable[Source]) -> "ExperimentConfig":
        """This experiment on several datasets at once; the order in which they are named does not matter.

        Raises:
            ConfigError: If there are none, two have name and protocol in common, or the model has no branches.
        """
        ordered = tuple(sorted(sources, key=lambda source: (source.branch, source.name, source.dataset)))
        named = [(source.name, source.protocol) for source in ordered]
        if not named or len(set(named)) < len(named):
            raise ConfigError(
                f"cross-protocol training takes datasets that differ in name or protocol, got {named!r}; "
                "name each once, in one version"
            )
        return replace(self, data=replace(self.data, dataset="", sources=ordered))

    @property
    def branches(self) -> tuple[LandmarkProtocol, ...]:
        """The protocols of the sources, each once: the branches of the first stage, in their order."""
        found = {source.branch: source.landmark_protocol for source in self.data.sources}
        return tuple(found[branch] for branch in sorted(found))

    def branch_number(self, protocol: LandmarkProtocol) -> int:
        """The place of a protocol among `branches`.

        Raises:
            ConfigError: If no source has it.
        """
        if protocol not in self.branches:
            having = ", ".join(branch.name for branch in self.branches) or "none"
            raise ConfigError(f"experiment {self.name!r} has no branch for protocol {protocol.name!r}; it has {having}")
        return self.branches.index(protocol)

    def fingerprint(self) -> str:
        """12 hex digits over all that decides the result."""
        return hashlib.sha256(replace(self, name="").to_json().encode()).hexdigest()[:12]

    @property
    def run_name(self) -> str:
        """The name of this experiment's run: never a timestamp, so that a restarted run finds itself."""
        return f"{self.name}-{self.fingerprint()}"


def local_batch(config: ExperimentConfig, num_workers: int) -> int:
    """Faces that each of `num_workers` takes of a global batch.

    Raises:
        ConfigError: If the batch cannot be shared so that the result stays the same.
    """
    batch, faces = config.train.global_batch, config.model.batch_norm_faces
    groups = batch // faces
    if num_workers < 1 or groups % num_workers:
        fits = ", ".join(str(n) for n in range(1, groups + 1) if groups % n == 0)
        raise ConfigError(
            f"train.global_batch {batch} in groups of model.batch_norm_faces {faces} cannot be shared by {num_workers} "
            f"workers; use {fits} workers, or another batch_norm_faces"
        )
    return batch // num_workers


def check_micro_batch(config: ExperimentConfig, micro_batch: int | None) -> None:
    """Refuse a number of faces to process at a time that would change the result.

    Raises:
        ConfigError: If it does not hold whole runs of the batch norms.
    """
    faces = config.model.batch_norm_faces
    if micro_batch is not None and (micro_batch < 1 or micro_batch % faces):
        raise ConfigError(
            f"a micro-batch must be a multiple of model.batch_norm_faces {faces}, got {micro_batch!r}; "
            f"use {max(1, round(micro_batch / faces)) * faces}"
        )


def _validated(tree: object) -> ExperimentConfig:
    try:
        return TypeAdapter(ExperimentConfig).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"config field {where}: {first['msg']}, got {first['input']!r}") from None
