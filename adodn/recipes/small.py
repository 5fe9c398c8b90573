"""What can be trained with little: on a part of 300W, on rendered faces, and in seconds for tests. In no paper."""

from dataclasses import replace

from adodn.config import AugmentConfig, DataConfig, ExperimentConfig, LossConfig, ModelConfig, TrainConfig
from adodn.recipes.ablation import ablation
from adodn.recipes.cnt import cnt_resnext_stage1
from adodn.recipes.odn import ODN


def adodn_300w_small() -> ExperimentConfig:
    """ADODN from random weights for as much of 300W as there is: 3.97 % on HELEN's test faces.

    Took 134 minutes on two busy CPU cores, for 1,911 faces.

    Departs from the paper where a short training from nothing needs it: smooth L1, one-cycle schedule, 60 epochs,
    coloured patches on 30 % of the faces. EXPERIMENTS.md has the whole story.

    adodn train --recipe adodn_300w_small --dataset s3://…/300w/VERSION
    """
    return ExperimentConfig(
        name="adodn_300w_small",
        loss=LossConfig(regression="smooth_l1"),
        data=DataConfig(augment=AugmentConfig(occlusion_probability=0.3, occluders=("patch",))),
        train=TrainConfig(epochs=60, schedule="one_cycle", precision="bf16"),
    )


def odn_300w_small() -> ExperimentConfig:
    """ODN trained as `adodn_300w_small`: what the outer product and the mask add. Not run here yet.

    adodn train --recipe odn_300w_small --dataset s3://…/300w/VERSION
    """
    return replace(adodn_300w_small(), name="odn_300w_small", model=ODN)


def brnet_300w_small() -> ExperimentConfig:
    """The plain trunk (BRNet) trained as `adodn_300w_small`: what the modules add.

    Not run here at this size. Took 7 minutes at 96 px for 15 epochs beside other work: 7.03 % on HELEN's test faces.

    adodn train --recipe brnet_300w_small --dataset s3://…/300w/VERSION
    """
    return ablation(adodn_300w_small(), "brnet_300w_small")


def cnt_small_stage1() -> ExperimentConfig:
    """CNT's first stage from random weights, ResNet-18 at 96 px, on as many datasets as there are.

    Took some 40 minutes on two busy CPU cores, for 11,411 faces of 300W and MTFL. Departs from the paper as
    `adodn_300w_small` does, and in its optimiser: SGD learns too little in so few epochs. EXPERIMENTS.md has the story.

    adodn train --recipe cnt_small_stage1 --dataset s3://…/300w/VERSION --dataset s3://…/mtfl/VERSION
    """
    row = cnt_resnext_stage1()
    return replace(
        row,
        name="cnt_small_stage1",
        model=replace(row.model, backbone="resnet18", input_px=96, batch_norm_faces=16),
        train=TrainConfig(epochs=6, global_batch=64, schedule="one_cycle", precision="bf16"),
    )


def cnt_small() -> ExperimentConfig:
    """Its second stage on one dataset, the trunk at a tenth of the learning rate: 5.19 % on HELEN's test faces.

    Took 20 minutes on two busy CPU cores, 12 epochs of 1,911 faces (`--set train.epochs=12`).

    adodn train --recipe cnt_small --dataset s3://…/300w/VERSION --from-model RUN_OF_STAGE_1
    """
    base = cnt_small_stage1()
    train = replace(base.train, trunk_learning_rate=0.1 * base.train.learning_rate)
    return replace(base, name="cnt_small", train=train)


def cnt_small_alone() -> ExperimentConfig:
    """The same network on one dataset from the start: what the other datasets add. 5.08 % on HELEN's test faces.

    Took 17 minutes on two busy CPU cores, 18 epochs of 1,911 faces. EXPERIMENTS.md has the comparison.

    adodn train --recipe cnt_small_alone --dataset s3://…/300w/VERSION
    """
    base = cnt_small_stage1()
    return replace(base, name="cnt_small_alone", train=replace(base.train, epochs=18))


def adodn_rendered() -> ExperimentConfig:
    """ADODN on rendered faces at 64 px: what `adodn demo` trains. Took minutes on two CPU cores.

    adodn train --recipe adodn_rendered --dataset s3://…/synthetic/VERSION
    """
    base = adodn_300w_small()
    return replace(
        base,
        name="adodn_rendered",
        model=ModelConfig(input_px=64, grid=2, rank_width=64, drop_warmup_epochs=2),
        train=replace(base.train, epochs=8, precision="fp32"),
    )


def adodn_smoke() -> ExperimentConfig:
    """The smallest training that still goes through every module. Took seconds; its score means nothing.

    adodn train --recipe adodn_smoke --dataset s3://…/synthetic/VERSION
    """
    base = adodn_rendered()
    return replace(
        base,
        name="adodn_smoke",
        model=ModelConfig(input_px=64, grid=2, rank_width=16, drop_warmup_epochs=1, batch_norm_faces=4),
        train=replace(base.train, epochs=3, global_batch=16),
    )


def odn_smoke() -> ExperimentConfig:
    """`adodn_smoke` with ODN's modules, and its losses: the paper's own squared error. Took seconds.

    adodn train --recipe odn_smoke --dataset s3://…/synthetic/VERSION
    """
    base = adodn_smoke()
    model = replace(base.model, geometry=ODN.geometry, occlusion=ODN.occlusion)
    return replace(base, name="odn_smoke", model=model, loss=LossConfig())
