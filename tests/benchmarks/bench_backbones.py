"""A training step of every backbone with and without SepBN, at the SepBN paper's 128 px, on one thread.

import bench_backbones; bench_backbones.run()
"""

from dataclasses import replace

import torch

from adodn import models
from adodn.config import ModelConfig, SepBNConfig
from adodn.models.description import describe
from adodn.models.occlusion_adaptive import OcclusionAdaptiveNet
from tests.benchmarks.measure import Row, alternately, product_of_matrices, row

FACES = 4
"""A step on vanilla_cnn takes a second; on more faces the rows would take minutes."""

_PLAIN = ModelConfig(
    protocol="98", input_px=128, geometry="none", occlusion="none", low_rank=False, grid=1, batch_norm_faces=FACES
)
_ADODN = ModelConfig(protocol="98", input_px=128, batch_norm_faces=FACES)
_VANILLA = replace(_PLAIN, backbone="vanilla_cnn", grid=2, hidden_width=2048)
_RESNEXT, _MOBILENET = (replace(_PLAIN, backbone=name) for name in ("resnext50_32x4d", "mobilenet_v2"))
_ENDS = SepBNConfig(placement="block_ends")
MODELS = {
    "adodn": _ADODN,
    "odn": replace(_ADODN, geometry="row_column", occlusion="distillation"),
    "brnet": _PLAIN,
    "brnet cnt": replace(_PLAIN, head="cnt_branch"),
    "vanilla_cnn": _VANILLA,
    "vanilla_cnn sepbn": replace(_VANILLA, sepbn=SepBNConfig(placement="all")),
    "resnext50_32x4d": _RESNEXT,
    "resnext50_32x4d sepbn": replace(_RESNEXT, sepbn=_ENDS),
    "mobilenet_v2": _MOBILENET,
    "mobilenet_v2 sepbn": replace(_MOBILENET, sepbn=_ENDS),
}


class Step:
    """Forward and backward of a model on random faces, fp32."""

    def __init__(self, model: ModelConfig) -> None:
        self._network: OcclusionAdaptiveNet = models.build(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        side = model.input_px
        self._images = torch.randint(0, 256, (FACES, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def __call__(self) -> None:
        self._network(self._images).landmarks.square().mean().backward()
        self._network.zero_grad()


def run(repeats: int = 3) -> list[Row]:
    """The measurement `backbones`, one row for each model; its limit is three times its products of matrices."""
    torch.set_num_threads(1)
    multiply, multiply_flops = product_of_matrices(torch.float32)
    *steps, multiplied = alternately(*map(Step, MODELS.values()), multiply, repeats=repeats)
    macs_per_s = multiply_flops / 2 / multiplied.cpu_s
    described = {variant: describe(model) for variant, model in MODELS.items()}
    return [
        row(
            "backbones",
            1000 * step.cpu_s / FACES,
            "ms/face",
            limit=1000 * 3 * described[variant].macs / macs_per_s,
            variant=variant,
            parameters_millions=described[variant].parameters / 1e6,
            gmac=described[variant].macs / 1e9,
            activations_mib=described[variant].activation_bytes / 2**20,
        )
        for variant, step in zip(MODELS, steps, strict=True)
    ]
