"""The rows of the ODN paper's tables that are its own (Zhu et al., CVPR 2019).

Scores are NME × 100: by the outer eye corners on 300W, by the width of the face box on AFLW. All need torchvision's
ImageNet weights of ResNet-18 (`resnet18.pth`), and 300W (3,148 training faces) or AFLW (20,000). The paper names
neither hardware nor times; not run here: neither dataset is to be had whole.

It gives no optimiser, batch size or r either, and no ranges for its rotation, scale, translation and flip. They are
ADODN's, by two of the same authors, so that the two methods differ in nothing but their modules; there is no jitter of
colours, which the paper does not name.
"""

from dataclasses import replace

from adodn.config import AugmentConfig, DataConfig, ExperimentConfig, ModelConfig
from adodn.recipes.ablation import ablation

ODN = ModelConfig(geometry="row_column", occlusion="distillation")
"""The network of the paper: as ADODN's but for these two modules."""


def odn_300w() -> ExperimentConfig:
    """ODN with the paper's settings on 300W.

    Paper: Tables 1 and 2 and the last row of Table 4: 3.56 Common, 6.67 Challenging, 4.17 Full. The same model on
    COFW68 is Fig. 4: 92 % of the faces below 0.08; `adodn evaluate RUN --dataset s3://…/cofw68/VERSION`.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper names no hardware and no time; not run here.

    adodn train --recipe odn_300w --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    augment = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0)
    return ExperimentConfig(name="odn_300w", model=ODN, data=DataConfig(augment=augment))


def odn_aflw() -> ExperimentConfig:
    """ODN with the paper's settings on AFLW without the ears (19 landmarks).

    Paper: Table 3: 1.63 AFLW-Full (4,386 faces), 1.38 AFLW-Frontal (1,165 faces), both by this one training.

    Needs AFLW (20,000 faces) and `resnet18.pth`. The paper names no hardware and no time; not run here.

    adodn train --recipe odn_aflw --dataset s3://…/aflw/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return replace(odn_300w(), name="odn_aflw")


def odn_300w_brnet() -> ExperimentConfig:
    """BRNet: the trunk with a linear layer, trained as ODN.

    Paper: Table 4, row 1: 7.21 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper names no hardware and no time; not run here.

    adodn train --recipe odn_300w_brnet --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(odn_300w(), "odn_300w_brnet")


def odn_300w_gm_dm() -> ExperimentConfig:
    """ODN without the low-rank module.

    Paper: Table 4, row 2: 7.04 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper names no hardware and no time; not run here.

    adodn train --recipe odn_300w_gm_dm --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(odn_300w(), "odn_300w_gm_dm", keep=("GM", "OM"))


def odn_300w_dm_lm() -> ExperimentConfig:
    """ODN without the geometry-aware module.

    Paper: Table 4, row 3: 6.88 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper names no hardware and no time; not run here.

    adodn train --recipe odn_300w_dm_lm --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(odn_300w(), "odn_300w_dm_lm", keep=("OM", "LM"))


def odn_300w_gm_lm() -> ExperimentConfig:
    """ODN without the distillation module.

    Paper: Table 4, row 4: 6.90 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper names no hardware and no time; not run here.

    adodn train --recipe odn_300w_gm_lm --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(odn_300w(), "odn_300w_gm_lm", keep=("GM", "LM"))


def odn_300w_no_l1() -> ExperimentConfig:
    """ODN with all modules, but no L1 norm on the map P: η = 0.

    Paper: Table 4, row 5: 6.81 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper names no hardware and no time; not run here.

    adodn train --recipe odn_300w_no_l1 --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    base = odn_300w()
    return replace(base, name="odn_300w_no_l1", loss=replace(base.loss, response_l1=0.0))
