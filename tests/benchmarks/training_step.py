"""The training step that the benchmarks time: 32 faces of the recipe adodn_300w_small, pixels and landmarks at random.

Network, input and batch are those of adodn_300w, in bf16.

step = TrainingStep()
step()
"""

import torch

from adodn import losses, models, recipes
from adodn.train.step import autocast

FACES = 32


class TrainingStep:
    """Forward, backward, update, on one thread."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.config = recipes.adodn_300w_small()
        self.network = models.build(self.config.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        side = self.config.model.input_px
        self._images = torch.randint(0, 256, (FACES, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        self._target = torch.rand(FACES, 68, 2)
        self._drop = torch.zeros(FACES, dtype=torch.bool)
        self._optimiser = torch.optim.Adam(self.network.parameters(), fused=True)

    def __call__(self) -> None:
        with autocast(self.config.train.precision, torch.device("cpu")):
            prediction = self.network(self._images, self._drop)
        terms = losses.loss_terms(prediction, self._target, self.network, self.config.loss)
        terms.total(self.config.loss).backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._optimiser.zero_grad()
