"""Networks for one device. Distribution is applied from outside.

model = build(config.model)
"""

from adodn.config import ExperimentConfig, ModelConfig
from adodn.models.attentive_dropout import AttentiveDropout
from adodn.models.cnt import Branch, CrossProtocolNet, Network, SingleBranchNet
from adodn.models.distillation import Distillation
from adodn.models.geometry import GeometryModule
from adodn.models.occlusion_adaptive import OcclusionAdaptiveNet, Prediction
from adodn.models.resnet import Norm
from adodn.models.trunks import build_trunk, norm_of
from adodn.protocols import LandmarkProtocol

__all__ = [
    "CrossProtocolNet",
    "Network",
    "OcclusionAdaptiveNet",
    "Prediction",
    "SingleBranchNet",
    "build",
    "build_for",
]


def build_for(config: ExperimentConfig) -> Network:
    """What an experiment trains, its weights random: with `data.sources` a network with a branch for each protocol.

    Raises:
        ConfigError: If a protocol is unknown.
    """
    if not config.data.sources:
        return build(config.model)
    trunk = build_trunk(config.model, norm_of(config.model))
    return CrossProtocolNet(trunk, [_branch(config.model, trunk.channels, protocol) for protocol in config.branches])


def build(model: ModelConfig) -> OcclusionAdaptiveNet | SingleBranchNet:
    """The network of a config, its weights random.

    Raises:
        ConfigError: If the protocol is unknown, or SepBN's groups do not fit the backbone.
    """
    norm = norm_of(model)
    trunk = build_trunk(model, norm)
    channels = trunk.channels
    if model.head == "cnt_branch":
        return SingleBranchNet(trunk, _branch(model, channels, model.landmark_protocol))
    return OcclusionAdaptiveNet(
        trunk=trunk,
        geometry=None if model.geometry == "none" else GeometryModule(channels, model.reduction, model.geometry, norm),
        occlusion=_occlusion_module(model, channels, norm),
        grid=model.grid,
        num_landmarks=model.landmark_protocol.num_landmarks,
        rank_width=model.rank_width if model.low_rank else None,
        hidden_width=model.hidden_width or None,
    )


def _branch(model: ModelConfig, channels: int, protocol: LandmarkProtocol) -> Branch:
    return Branch(
        channels,
        protocol.num_landmarks,
        grid=model.grid,
        hidden_width=model.hidden_width or None,
        kernel=model.branch_kernel,
    )


def _occlusion_module(model: ModelConfig, channels: int, norm: Norm) -> Distillation | None:
    if model.occlusion == "none":
        return None
    if model.occlusion == "distillation":
        return Distillation(channels, model.reduction, norm)
    return AttentiveDropout(
        channels,
        model.reduction,
        norm,
        threshold=model.drop_threshold,
        threshold_mode=model.threshold_mode,
        evaluation_mask=model.evaluation_mask,
        drop_probability=model.drop_probability,
    )
