"""The rows of the ADODN paper's tables that are its own (Sadiq et al., IEEE Access 2026).

All scores are NME × 100 by the outer eye corners. All need 300W (3,148 training faces) and torchvision's ImageNet
weights of ResNet-18 (`resnet18.pth`). The paper trained on RTX 3090 cards and gives no times; not run here: 300W is not
to be had whole.

Its Table 4 has the figures of ODN's Table 4 for BRNet and for GM + LM, so these two may not have been trained anew. The
sensitivity to p, τ_d and r has no figures in the paper: `--set model.drop_probability=0.3` and the like explore it.
"""

from adodn.config import ExperimentConfig
from adodn.recipes.ablation import ablation


def adodn_300w() -> ExperimentConfig:
    """ADODN with the paper's settings on 300W.

    Paper: Tables 2 and 3 and the last row of Table 4: 2.80 Common, 5.81 Challenging, 3.35 Full. The same model on
    COFW68 is Fig. 3, which has no figure in its text: `adodn evaluate RUN --dataset s3://…/cofw68/VERSION`.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper used RTX 3090s and gives no time; not run here.

    adodn train --recipe adodn_300w --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ExperimentConfig(name="adodn_300w")


def adodn_300w_brnet() -> ExperimentConfig:
    """BRNet: the trunk with a linear layer, trained as ADODN.

    Paper: Table 4, row 1: 7.21 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper used RTX 3090s and gives no time; not run here.

    adodn train --recipe adodn_300w_brnet --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(adodn_300w(), "adodn_300w_brnet")


def adodn_300w_gm_lm() -> ExperimentConfig:
    """ADODN without attentive dropout.

    Paper: Table 4, row 2: 6.90 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper used RTX 3090s and gives no time; not run here.

    adodn train --recipe adodn_300w_gm_lm --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(adodn_300w(), "adodn_300w_gm_lm", keep=("GM", "LM"))


def adodn_300w_gm_adm() -> ExperimentConfig:
    """ADODN without the low-rank module.

    Paper: Table 4, row 3: 6.72 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper used RTX 3090s and gives no time; not run here.

    adodn train --recipe adodn_300w_gm_adm --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(adodn_300w(), "adodn_300w_gm_adm", keep=("GM", "OM"))


def adodn_300w_adm_lm() -> ExperimentConfig:
    """ADODN without the geometry-aware module.

    Paper: Table 4, row 4: 6.68 Challenging.

    Needs 300W (3,148 faces) and `resnet18.pth`. The paper used RTX 3090s and gives no time; not run here.

    adodn train --recipe adodn_300w_adm_lm --dataset s3://…/300w/VERSION --weights resnet18.pth --workers 1 --gpu
    """
    return ablation(adodn_300w(), "adodn_300w_adm_lm", keep=("OM", "LM"))
