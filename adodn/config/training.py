"""How long an experiment trains, with which optimiser, schedule and arithmetic.

TrainConfig(optimiser="sgd", schedule="cosine", warmup_epochs=5)
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from adodn.config.ranges import STRICT, Count, NonNegative, Positive
from adodn.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Optimiser, schedule, length and arithmetic."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

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
    """`bf16`, the fast one, runs convolutions under autocast; losses and the low-rank module stay in fp32. `fp64` is
    for proofs: in fp32, training magnifies the rounding of another order of summation to a per cent within tens of
    steps."""

    def __post_init__(self) -> None:
        if self.final_learning_rate > self.learning_rate:
            raise ConfigError(
                f"config field train.final_learning_rate must be at most train.learning_rate {self.learning_rate!r}, "
                f"got {self.final_learning_rate!r}"
            )
