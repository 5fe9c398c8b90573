"""Batch normalisation whose result does not depend on how many workers share a batch.

Statistics are taken over runs of a fixed number of faces. Each worker sees whole runs, so one worker with four runs and
four workers with one run compute the same. Running averages are linear in the statistics of the runs; their mean over
workers (`running_buffers`) is therefore what a single worker would have kept.

    norm = partial(VirtualBatchNorm2d, faces=16)

Not here: several sets of scale and shift (`sepbn.py`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adodn.errors import ConfigError


class VirtualBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` over runs of `faces` faces; the names of parameters and buffers are the same.

    Args:
        num_features: C of the `[B, C, H, W]` input.
        faces: Faces in a run. In training B must be a multiple of it.
    """

    def __init__(self, num_features: int, *, faces: int) -> None:
        super().__init__(num_features)
        self.faces = faces

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`.

        Raises:
            ValueError: In training, if B is not a multiple of `faces`.
        """
        if not self.training:
            return super().forward(input)
        runs = self.runs(input)
        means = self.running_mean.new_zeros(len(runs), self.num_features)  # type: ignore[union-attr]
        variances = torch.zeros_like(means)
        # momentum 1 makes batch_norm write the run's own statistics into the two rows, at no extra pass over the data.
        outputs = [
            F.batch_norm(run, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for run, mean, variance in zip(runs, means, variances, strict=True)
        ]
        self.follow(means.mean(0), variances.mean(0))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def runs(self, input: Tensor) -> tuple[Tensor, ...]:
        """`[B, …]` parted into runs of `faces`.

        Raises:
            ValueError: If B is not a multiple of `faces`.
        """
        if input.shape[0] % self.faces:
            raise ValueError(f"batch must be a multiple of {self.faces} faces in training, got {input.shape[0]}")
        return (input,) if input.shape[0] == self.faces else torch.split(input, self.faces)

    @torch.no_grad()
    def follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch, both `[C]`, the variance without bias."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.num_features}, faces={self.faces}"


class SynchronisedBatchNorm2d(nn.SyncBatchNorm):
    """Statistics over the faces of all workers, exchanged in every layer of every step.

    torch has it for CUDA alone. Elsewhere such a network can be built, loaded and evaluated, but not trained.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`.

        Raises:
            ConfigError: In training, where there is no CUDA.
        """
        if self.training and not input.is_cuda:
            raise ConfigError(
                f"model.batch_norm 'synchronised' needs CUDA to train, got a batch on {input.device.type!r}; "
                "train with --gpu, or use 'virtual', which depends on the number of workers as little"
            )
        return super().forward(input)


def running_buffers(model: nn.Module, frozen: tuple[str, ...] = ()) -> Iterator[Tensor]:
    """The running means and variances of all batch norms; average these over workers before they are used.

    Args:
        model: Where they are.
        frozen: Those of modules whose paths, with a dot behind, begin with one of these are left out.
    """
    for path, module in model.named_modules():
        if not isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) or f"{path}.".startswith(frozen):
            continue
        if module.running_mean is not None and module.running_var is not None:
            yield module.running_mean
            yield module.running_var
