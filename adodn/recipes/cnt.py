"""The rows of Table XI of the SepBN paper, with cross-protocol training (CNT) and without (Jin et al., 2021).

Scores are NME × 100 on COFW / WFLW / AFLW-Full: by the outer eye corners on COFW and WFLW, by the face box's size on
AFLW. A row with CNT is two recipes. The first stage trains on all datasets at once:

    adodn train --recipe cnt_vanilla_stage1 --dataset s3://…/cofw/VERSION --dataset s3://…/aflw/VERSION …

and the second fine-tunes on one, whose branch of the first it keeps:

    adodn train --recipe cnt_vanilla --dataset s3://…/cofw/VERSION --from-model RUN_OF_STAGE_1

The flow `train-cnt` does both. Needs COFW (1,345 training faces), AFLW (20,000), WFLW (7,500) and 300W (3,148); the
paper adds 9,770 faces of WiderFace, whose five points no reader here knows. ResNeXt-50 and MobileNetV2 start from
ImageNet weights (`--weights`). Not run here: the datasets are not to be had whole.

The paper gives no range for its shear, and does not say whether warm-up is linear; nor how long the second stage is,
which is taken to be as long as the first.
"""

from dataclasses import replace

from adodn.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    SepBNConfig,
    TrainConfig,
)

VANILLA = ModelConfig(
    backbone="vanilla_cnn",
    input_px=128,
    geometry="none",
    occlusion="none",
    low_rank=False,
    grid=2,
    hidden_width=1024,
    batch_norm_faces=8,
)
"""Its Table I."""
RESNEXT = replace(VANILLA, backbone="resnext50_32x4d", grid=1, hidden_width=0)
"""As published but for the last linear layer, at the side of Vanilla CNN's input."""
MOBILENET = replace(RESNEXT, backbone="mobilenet_v2")
_TRUNK_RATE = 1e-7


def vanilla_bn() -> ExperimentConfig:
    """Vanilla CNN (BN). Paper: Table XI: 4.07 / 5.70 / 1.65.

    Needs COFW, WFLW or AFLW. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe vanilla_bn --dataset s3://…/cofw/VERSION
    """
    return _row("vanilla_bn", VANILLA)


def vanilla_sepbn() -> ExperimentConfig:
    """Vanilla CNN (SepBN). Paper: Table XI: 4.03 / 5.48 / 1.55.

    Needs COFW, WFLW or AFLW. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe vanilla_sepbn --dataset s3://…/cofw/VERSION
    """
    return _row("vanilla_sepbn", _sepbn(VANILLA))


def cnt_vanilla_stage1() -> ExperimentConfig:
    """Stage 1 of Vanilla CNN (CNT); `val/nme@mean_of_datasets` chooses its best epoch.

    Needs COFW, AFLW, WFLW and 300W. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_vanilla_stage1 --dataset s3://…/cofw/VERSION …
    """
    return _stage1("cnt_vanilla_stage1", VANILLA)


def cnt_vanilla() -> ExperimentConfig:
    """Vanilla CNN (CNT). Paper: Table XI: 3.84 / 5.33 / 1.61.

    Needs COFW, WFLW or AFLW, and a run of stage 1. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_vanilla --dataset s3://…/cofw/VERSION --from-model RUN_OF_STAGE_1
    """
    return _stage2("cnt_vanilla", VANILLA)


def cnt_sepbn_vanilla_stage1() -> ExperimentConfig:
    """Stage 1 of Vanilla CNN (CNT+SepBN); `val/nme@mean_of_datasets` chooses its best epoch.

    Needs COFW, AFLW, WFLW and 300W. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_sepbn_vanilla_stage1 --dataset s3://…/cofw/VERSION …
    """
    return _stage1("cnt_sepbn_vanilla_stage1", _sepbn(VANILLA))


def cnt_sepbn_vanilla() -> ExperimentConfig:
    """Vanilla CNN (CNT+SepBN). Paper: Table XI: 3.63 / 5.26 / 1.57.

    Needs COFW, WFLW or AFLW, and a run of stage 1. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_sepbn_vanilla --dataset s3://…/cofw/VERSION --from-model RUN_OF_STAGE_1
    """
    return _stage2("cnt_sepbn_vanilla", _sepbn(VANILLA))


def mobilenet_bn() -> ExperimentConfig:
    """MobileNetV2 (BN). Paper: Table XI: 5.07 / 6.18 / 1.66.

    Needs COFW, WFLW or AFLW and `mobilenet_v2.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe mobilenet_bn --dataset s3://…/cofw/VERSION --weights mobilenet_v2.pth
    """
    return _row("mobilenet_bn", MOBILENET)


def mobilenet_sepbn() -> ExperimentConfig:
    """MobileNetV2 (SepBN). Paper: Table XI: 3.96 / 5.31 / 1.57.

    Needs COFW, WFLW or AFLW and `mobilenet_v2.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe mobilenet_sepbn --dataset s3://…/cofw/VERSION --weights mobilenet_v2.pth
    """
    return _row("mobilenet_sepbn", _sepbn(MOBILENET))


def cnt_mobilenet_stage1() -> ExperimentConfig:
    """Stage 1 of MobileNetV2 (CNT); `val/nme@mean_of_datasets` chooses its best epoch.

    Needs COFW, AFLW, WFLW, 300W and `mobilenet_v2.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_mobilenet_stage1 --dataset s3://…/cofw/VERSION … --weights mobilenet_v2.pth
    """
    return _stage1("cnt_mobilenet_stage1", MOBILENET)


def cnt_mobilenet() -> ExperimentConfig:
    """MobileNetV2 (CNT). Paper: Table XI: 3.57 / 5.18 / 1.64.

    Needs COFW, WFLW or AFLW, and a run of stage 1. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_mobilenet --dataset s3://…/cofw/VERSION --from-model RUN_OF_STAGE_1
    """
    return _stage2("cnt_mobilenet", MOBILENET)


def cnt_sepbn_mobilenet_stage1() -> ExperimentConfig:
    """Stage 1 of MobileNetV2 (CNT+SepBN); `val/nme@mean_of_datasets` chooses its best epoch.

    Needs COFW, AFLW, WFLW, 300W and `mobilenet_v2.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_sepbn_mobilenet_stage1 --dataset s3://…/cofw/VERSION … --weights mobilenet_v2.pth
    """
    return _stage1("cnt_sepbn_mobilenet_stage1", _sepbn(MOBILENET))


def cnt_sepbn_mobilenet() -> ExperimentConfig:
    """MobileNetV2 (CNT+SepBN). Paper: Table XI: 3.56 / 5.13 / 1.60.

    Needs COFW, WFLW or AFLW, and a run of stage 1. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_sepbn_mobilenet --dataset s3://…/cofw/VERSION --from-model RUN_OF_STAGE_1
    """
    return _stage2("cnt_sepbn_mobilenet", _sepbn(MOBILENET))


def resnext_bn() -> ExperimentConfig:
    """ResNeXt-50 (BN). Paper: Table XI: 3.95 / 4.90 / 1.50.

    Needs COFW, WFLW or AFLW and `resnext50_32x4d.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe resnext_bn --dataset s3://…/cofw/VERSION --weights resnext50_32x4d.pth
    """
    return _row("resnext_bn", RESNEXT)


def resnext_sepbn() -> ExperimentConfig:
    """ResNeXt-50 (SepBN). Paper: Table XI: 3.51 / 4.85 / 1.46.

    Needs COFW, WFLW or AFLW and `resnext50_32x4d.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe resnext_sepbn --dataset s3://…/cofw/VERSION --weights resnext50_32x4d.pth
    """
    return _row("resnext_sepbn", _sepbn(RESNEXT))


def cnt_resnext_stage1() -> ExperimentConfig:
    """Stage 1 of ResNeXt-50 (CNT); `val/nme@mean_of_datasets` chooses its best epoch.

    Needs COFW, AFLW, WFLW, 300W and `resnext50_32x4d.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_resnext_stage1 --dataset s3://…/cofw/VERSION … --weights resnext50_32x4d.pth
    """
    return _stage1("cnt_resnext_stage1", RESNEXT)


def cnt_resnext() -> ExperimentConfig:
    """ResNeXt-50 (CNT). Paper: Table XI: 3.49 / 4.88 / 1.48.

    Needs COFW, WFLW or AFLW, and a run of stage 1. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_resnext --dataset s3://…/cofw/VERSION --from-model RUN_OF_STAGE_1
    """
    return _stage2("cnt_resnext", RESNEXT)


def cnt_sepbn_resnext_stage1() -> ExperimentConfig:
    """Stage 1 of ResNeXt-50 (CNT+SepBN); `val/nme@mean_of_datasets` chooses its best epoch.

    Needs COFW, AFLW, WFLW, 300W and `resnext50_32x4d.pth`. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_sepbn_resnext_stage1 --dataset s3://…/cofw/VERSION … --weights resnext50_32x4d.pth
    """
    return _stage1("cnt_sepbn_resnext_stage1", _sepbn(RESNEXT))


def cnt_sepbn_resnext() -> ExperimentConfig:
    """ResNeXt-50 (CNT+SepBN). Paper: Table XI: 3.47 / 4.87 / 1.48.

    Needs COFW, WFLW or AFLW, and a run of stage 1. The paper had a GTX 1080 Ti and gives no time; not run here.

    adodn train --recipe cnt_sepbn_resnext --dataset s3://…/cofw/VERSION --from-model RUN_OF_STAGE_1
    """
    return _stage2("cnt_sepbn_resnext", _sepbn(RESNEXT))


def cnt_smoke_stage1() -> ExperimentConfig:
    """The smallest first stage, on rendered faces in two protocols. Took seconds; its score means nothing.

    adodn train --recipe cnt_smoke_stage1 --dataset s3://…/synthetic/VERSION --dataset s3://…/synthetic-as-29/VERSION
    """
    return _smoke(cnt_vanilla_stage1(), "cnt_smoke_stage1")


def cnt_smoke() -> ExperimentConfig:
    """The smallest second stage. Took seconds; its score means nothing.

    adodn train --recipe cnt_smoke --dataset s3://…/synthetic-as-29/VERSION --from-model RUN_OF_STAGE_1
    """
    return _smoke(cnt_vanilla(), "cnt_smoke")


def _row(name: str, model: ModelConfig) -> ExperimentConfig:
    """The paper's training of a network on one dataset."""
    return ExperimentConfig(
        name=name,
        model=model,
        loss=LossConfig(regression="l1", low_rank_decay=0, convolution_decay=0, head_decay=0),
        data=DataConfig(
            crop_scale=1.0,
            augment=AugmentConfig(
                rotation_deg=25,
                scale=0,
                translation=0,
                shear=0.1,
                box_jitter=0.15,
                brightness=0,
                contrast=0,
                saturation=0,
            ),
        ),
        train=TrainConfig(
            epochs=500,
            global_batch=8,
            optimiser="sgd",
            momentum=0.9,
            weight_decay=5e-4,
            learning_rate=1e-3,
            schedule="cosine",
            final_learning_rate=5e-6,
            warmup_epochs=120,
            early_stop_patience=500,
        ),
    )


def _sepbn(model: ModelConfig) -> ModelConfig:
    """In place of all batch norms of Vanilla CNN, and of the last of every residual unit of the others."""
    return replace(model, sepbn=SepBNConfig(placement="all" if model.backbone == "vanilla_cnn" else "block_ends"))


def _stage1(name: str, model: ModelConfig) -> ExperimentConfig:
    return _row(name, replace(model, head="cnt_branch"))


def _stage2(name: str, model: ModelConfig) -> ExperimentConfig:
    base = _stage1(name, model)
    return replace(base, train=replace(base.train, trunk_learning_rate=_TRUNK_RATE))


def _smoke(base: ExperimentConfig, name: str) -> ExperimentConfig:
    model = replace(
        base.model, backbone="resnet18", input_px=64, grid=1, hidden_width=32, branch_kernel=1, batch_norm_faces=4
    )
    train = replace(base.train, epochs=2, global_batch=16, warmup_epochs=0)
    return replace(base, name=name, model=model, train=train)
