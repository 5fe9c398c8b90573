"""Cross-protocol training's networks: a trunk shared by faces of all protocols, a branch for each (CNT, SepBN §IV).

    network = CrossProtocolNet(ResNet18(norm), [Branch(512, 68), Branch(512, 29)])       # stage 1
    network(images, torch.tensor([0, 1, 1])).landmarks       # [3, 68, 2]; faces of 29 landmarks end in zeros
    SingleBranchNet(ResNet18(norm), Branch(512, 29)).load_state_dict(single_branch_state(network.state_dict(), 1))

Stage 2 fine-tunes a `SingleBranchNet`, which is called like any network of one protocol, and so is evaluated,
exported and registered like any.

Shapes: B batch, S input side, C channels, H×W grid, L landmarks of one protocol, M the most of any.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adodn.errors import CheckpointError
from adodn.models.occlusion_adaptive import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    OcclusionAdaptiveNet,
    Prediction,
    last_layer,
    linear_head,
)
from adodn.models.pooling import MeanPool2d
from adodn.models.precision import at_least_fp32
from adodn.models.trunks import Trunk
from adodn.models.vanilla_cnn import SLOPE


class Branch(nn.Module):
    """What follows the trunk for one protocol: the additional convolution, then the regressor of the paper's Table I.

    The paper names neither the convolution's size nor what follows it. It keeps the number of channels, so that the
    regressor is Table I's, and has a leaky ReLU as all there. It has no batch norm: a step has as few faces of a
    protocol as chance will have it, so statistics over them would be noise, and would change with the ranks.

    Args:
        channels: C, of the trunk.
        num_landmarks: L.
        grid: Side to which the features are pooled before they are flattened.
        hidden_width: Of the regressor's hidden layer; None: one linear layer alone.
        kernel: Side of the convolution, odd.
    """

    def __init__(
        self, channels: int, num_landmarks: int, *, grid: int = 2, hidden_width: int | None = 1024, kernel: int = 3
    ) -> None:
        super().__init__()
        self.num_landmarks = num_landmarks
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.relu = nn.LeakyReLU(SLOPE)
        self.downsample = MeanPool2d(grid)
        self.head = linear_head(channels * grid * grid, hidden_width, 2 * num_landmarks)
        nn.init.kaiming_normal_(self.conv.weight, a=SLOPE, mode="fan_out", nonlinearity="leaky_relu")
        # Every landmark starts near the middle of the crop, so that the first steps need not travel there.
        last = last_layer(self.head)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.constant_(last.bias, 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """The trunk's features `[B, C, H, W]` → landmarks `[B, L, 2]`, fractions of the crop; B may be 0."""
        adapted = self.relu(self.conv(features))
        # fp32 from here on: a landmark's third digit is lost in bf16.
        with torch.autocast(features.device.type, enabled=False):
            outputs: Tensor = self.head(self.downsample(at_least_fp32(adapted)).flatten(1))
        return outputs.view(outputs.shape[0], self.num_landmarks, 2)


class _Trunked(nn.Module):
    """Takes uint8 RGB as it comes and normalises it itself."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def low_rank_matrix(self) -> None:
        """As `OcclusionAdaptiveNet` has it: there is none here."""

    def features(self, images: Tensor) -> Tensor:
        """Images `[B, 3, S, S]` → what all branches read, `[B, C, H, W]`."""
        normalised = (images.float() - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        return self.trunk.last_unit(self.trunk(normalised))


class SingleBranchNet(_Trunked):
    """The trunk and the branch of one protocol.

    Args:
        trunk: Gives the features.
        branch: Reads landmarks from them.
    """

    def __init__(self, trunk: Trunk, branch: Branch) -> None:
        super().__init__(trunk)
        self.branch = branch

    def forward(self, images: Tensor, drop: Tensor | None = None) -> Prediction:
        """Predict landmarks.

        Args:
            images: `[B, 3, S, S]`, RGB, 0 … 255, uint8 or float.
            drop: Nothing is dropped here; networks that drop take it.

        Returns:
            Landmarks `[B, L, 2]`.
        """
        return Prediction(self.branch(self.features(images)), None)


class CrossProtocolNet(_Trunked):
    """Regresses each face's landmarks through the branch of its own protocol.

    In training every branch is called, on no faces if need be: a layer's gradient over no faces is zero, so each
    parameter has a gradient on every rank in every step. Data-parallel training then neither waits for a branch that
    one rank lacks nor searches the graph for it (`find_unused_parameters`), and its mean over ranks is right as it is.
    A branch that no rank calls has the gradient zero, as the step's loss demands, so momentum and weight decay act on
    it as on all others.

    Args:
        trunk: Shared by all protocols.
        branches: One for each protocol; faces name theirs by its place.
    """

    def __init__(self, trunk: Trunk, branches: Sequence[Branch]) -> None:
        super().__init__(trunk)
        self.branches = nn.ModuleList(branches)
        self.most_landmarks = max(branch.num_landmarks for branch in branches)

    def forward(self, images: Tensor, branches: Tensor) -> Prediction:
        """Predict landmarks.

        Args:
            images: `[B, 3, S, S]`, RGB, 0 … 255, uint8 or float.
            branches: `[B]` int64, each face's branch; not on a GPU, which would have to be waited for to know it.

        Returns:
            Landmarks `[B, M, 2]`; beyond the L of a face's own protocol all are 0.
        """
        features = self.features(images)
        parts: list[Tensor] = []
        faces: list[Tensor] = []
        for number, branch in enumerate(self.branches):
            own = (branches == number).nonzero().flatten()
            if self.training or len(own):
                parts.append(self._padded(branch(features[own.to(features.device, non_blocking=True)])))
                faces.append(own)
        order = torch.cat(faces).argsort()
        return Prediction(torch.cat(parts)[order.to(features.device, non_blocking=True)], None)

    def _padded(self, landmarks: Tensor) -> Tensor:
        """`[N, L, 2]` → `[N, M, 2]`."""
        return F.pad(landmarks, (0, 0, 0, self.most_landmarks - landmarks.shape[1]))


Network: TypeAlias = OcclusionAdaptiveNet | SingleBranchNet | CrossProtocolNet
"""What can be trained."""


def single_branch_state(state: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """The trunk and one branch, under the names that `SingleBranchNet` has for them; other branches are dropped.

    Args:
        state: `CrossProtocolNet.state_dict()`.
        number: The branch's place.

    Raises:
        CheckpointError: If there is no such branch.
    """
    prefix = f"branches.{number}."
    trunk = {name: value for name, value in state.items() if name.startswith("trunk.")}
    branch = {f"branch.{name.removeprefix(prefix)}": value for name, value in state.items() if name.startswith(prefix)}
    if not branch:
        raise CheckpointError(f"these weights have no branch number {number}; name a protocol that stage 1 trained")
    return trunk | branch
