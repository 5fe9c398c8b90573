"""The backbones: torchvision's names, published counts, loading, and heads that fit or are refused.

Names, shapes and counts are torchvision's (0.20), written down here by their rules: torchvision is not installed.

pytest tests/unit/test_trunks.py
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adodn import models
from adodn.config import ModelConfig, SepBNConfig
from adodn.errors import CheckpointError, ConfigError
from adodn.models import build
from adodn.models.description import Description, describe, describe_module
from adodn.models.mobilenet import MobileNetV2
from adodn.models.resnet import ResNet18
from adodn.models.resnext import ResNeXt50
from adodn.models.sepbn import SepBN2d
from adodn.models.vanilla_cnn import VanillaCNN
from adodn.models.weights import load_trunk

PLAIN = ModelConfig(input_px=64, geometry="none", occlusion="none", low_rank=False, grid=1, batch_norm_faces=2)
VANILLA = replace(PLAIN, protocol="98", backbone="vanilla_cnn", input_px=128, grid=2, hidden_width=2048)
BACKBONES = ("resnet18", "resnext50_32x4d", "mobilenet_v2", "vanilla_cnn")

Shapes = dict[str, tuple[int, ...]]


def norm_shapes(name: str, width: int) -> Shapes:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


def resnext_shapes() -> Shapes:
    """torchvision's resnext50_32x4d: `layerS.U` with 1×1, 3×3 in 32 groups, 1×1; a short cut in each first unit."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048), "fc.bias": (1000,)}
    shapes |= norm_shapes("bn1", 64)
    inputs = 64
    for stage, (depth, inside, outputs) in enumerate(
        ((3, 128, 256), (4, 256, 512), (6, 512, 1024), (3, 1024, 2048)), 1
    ):
        for unit in range(depth):
            here = f"layer{stage}.{unit}"
            shapes[f"{here}.conv1.weight"] = (inside, inputs, 1, 1)
            shapes[f"{here}.conv2.weight"] = (inside, inside // 32, 3, 3)
            shapes[f"{here}.conv3.weight"] = (outputs, inside, 1, 1)
            shapes |= norm_shapes(f"{here}.bn1", inside) | norm_shapes(f"{here}.bn2", inside)
            shapes |= norm_shapes(f"{here}.bn3", outputs)
            if unit == 0:
                shapes[f"{here}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= norm_shapes(f"{here}.downsample.1", outputs)
            inputs = outputs
    return shapes


def mobilenet_shapes() -> Shapes:
    """torchvision's mobilenet_v2: `features.N.conv.M`, expanding by 6 in all units but the first."""
    shapes: Shapes = {"features.0.0.weight": (32, 3, 3, 3), "features.18.0.weight": (1280, 320, 1, 1)}
    shapes |= norm_shapes("features.0.1", 32) | norm_shapes("features.18.1", 1280)
    shapes |= {"classifier.1.weight": (1000, 1280), "classifier.1.bias": (1000,)}
    widths = [32, 16, *2 * [24], *3 * [32], *4 * [64], *3 * [96], *3 * [160], 320]
    for unit, (inputs, outputs) in enumerate(pairwise(widths), 1):
        here, inside = f"features.{unit}.conv", inputs if unit == 1 else 6 * inputs
        last = 1 if unit == 1 else 2
        if unit > 1:
            shapes[f"{here}.0.0.weight"] = (inside, inputs, 1, 1)
            shapes |= norm_shapes(f"{here}.0.1", inside)
        shapes[f"{here}.{last - 1}.0.weight"] = (inside, 1, 3, 3)
        shapes |= norm_shapes(f"{here}.{last - 1}.1", inside)
        shapes[f"{here}.{last}.weight"] = (outputs, inside, 1, 1)
        shapes |= norm_shapes(f"{here}.{last + 1}", outputs)
    return shapes


PUBLISHED = {
    "resnext50_32x4d": (ResNeXt50, resnext_shapes, "fc.", 25_028_904),
    "mobilenet_v2": (MobileNetV2, mobilenet_shapes, "classifier.", 3_504_872),
}


def weights_of(backbone: str) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=draws) for name, shape in PUBLISHED[backbone][1]().items()}


def count(shapes: Shapes) -> int:
    return sum(torch.Size(shape).numel() for name, shape in shapes.items() if ".running_" not in name)


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_names_shapes_and_count_are_torchvisions(backbone: str) -> None:
    """The list written down here has the published number of parameters, and the trunk has the list's tensors."""
    trunk_of, shapes_of, classifier, parameters = PUBLISHED[backbone]
    with torch.device("meta"):
        trunk = trunk_of(nn.BatchNorm2d)
    shapes = shapes_of()

    assert count(shapes) == parameters
    own = {name: tuple(v.shape) for name, v in trunk.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert own == {name: shape for name, shape in shapes.items() if not name.startswith(classifier)}


@pytest.mark.parametrize(
    ("trunk_of", "classes", "gmac"),
    [(ResNet18, 512_000, 1.81), (ResNeXt50, 2_048_000, 4.23), (MobileNetV2, 1_280_000, 0.30)],
)
def test_macs_are_those_torchvision_publishes(trunk_of: Any, classes: int, gmac: float) -> None:
    """For 224 px, its classifier's products added, to the two digits that it gives: strides and groups are right."""

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk_of(nn.BatchNorm2d)

        def forward(self, images: Tensor) -> Tensor:
            answer: Tensor = self.trunk.last_unit(self.trunk(images))
            return answer

    with torch.device("meta"):
        description = describe_module(Whole().eval(), torch.zeros(1, 3, 224, 224))

    assert round((description.macs + classes) / 1e9, 2) == gmac


def elements(description: Description, kind: str, *, inputs: bool = False) -> int:
    """Numbers that all layers of a kind give, or, of a 2×2 max pool, take."""
    sizes = [torch.Size(layer.output).numel() for layer in description.layers if layer.kind == kind]
    return sum(sizes) * (4 if inputs else 1)


def test_vanilla_cnn_has_the_published_size() -> None:
    """42.33 M parameters and 1.56 GMac at 98 points, with a hidden layer of 2,048.

    Table I prints 1,024, which gives 33.7 M and 1.55 GMac: what was published cannot have had it.
    """
    published = describe(VANILLA)
    printed = describe(replace(VANILLA, hidden_width=1024))

    assert published.parameters == 42_331_908 and published.macs == 1_555_439_616
    assert (round(published.parameters / 1e6, 2), round(published.macs / 1e9, 2)) == (42.33, 1.56)
    assert (round(printed.parameters / 1e6, 1), round(printed.macs / 1e9, 2)) == (33.7, 1.55)


def test_vanilla_cnn_with_simple_sepbn_has_the_published_size() -> None:
    """42.91 M parameters and 1.58 GMac at 98 points: those of the squeezing attention of Eqs. 3-5 with one group.

    The published work counts every number that a layer touches too: K whole batch norms side by side, twice each, a
    bias of each convolution (which the batch norm takes away again), LeakyReLU, and pools by their inputs. Ours
    normalises once and has no such bias. Grouped attention, Eqs. 6-7, is smaller.
    """
    simple = describe(replace(VANILLA, sepbn=SepBNConfig(placement="all", attention="squeeze", groups=1)))
    grouped = describe(replace(VANILLA, sepbn=SepBNConfig(placement="all")))

    assert round(simple.parameters / 1e6, 2) == 42.91
    maps = elements(simple, "SepBN2d")
    touched = (3 * 2 + 1 + 1 + 1 + 1) * maps  # three batch norms, bias, LeakyReLU, max pool, mean
    assert maps == sum(width * (128 >> i) ** 2 for i, width in enumerate((64, 128, 256, 512, 1024, 2048)))
    assert elements(simple, "MaxPool2d", inputs=True) == maps
    assert round((simple.macs + touched) / 1e9, 2) == 1.58
    assert round(grouped.parameters / 1e6, 2) == 42.36


def test_vanilla_cnn_is_table_1() -> None:
    """Maps of 64, 32, …, 2 px with 64, 128, …, 2,048 channels after each pool; LeakyReLU has slope 0.01."""
    with torch.device("meta"):
        trunk = VanillaCNN(nn.BatchNorm2d)
        images, maps = torch.zeros(1, 3, 128, 128), []
        for block in trunk.blocks:
            images = block(images)
            maps.append(tuple(images.shape[1:]))

    assert maps == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)]
    slopes = [module.negative_slope for module in trunk.modules() if isinstance(module, nn.LeakyReLU)]
    assert slopes == [0.01] * 6


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("placement", ["none", "all"])
def test_every_backbone_answers_in_shape(backbone: str, placement: Any) -> None:
    """With the plain head: landmarks `[B, 68, 2]` near the middle, Z as declared, a gradient for every parameter."""
    torch.manual_seed(0)
    model = build(replace(PLAIN, backbone=backbone, sepbn=SepBNConfig(placement=placement)))  # type: ignore[arg-type]
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)

    landmarks = model(images).landmarks
    landmarks.square().sum().backward()

    features = model.trunk(images.float() / 255)
    assert features.shape[1] == model.trunk.channels
    assert model.trunk.last_unit(features).shape == features.shape
    assert landmarks.shape == (2, 68, 2) and (landmarks - 0.5).abs().max() < 0.5
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_whole_head_stands_on_resnext() -> None:
    """ADODN's head takes the place of `layer4.2` of ResNeXt-50, as of ResNet-18's last unit."""
    torch.manual_seed(0)
    config = replace(PLAIN, backbone="resnext50_32x4d", geometry="outer_product", occlusion="attentive_dropout")
    model = build(replace(config, low_rank=True, rank_width=8))

    prediction = model(torch.zeros(2, 3, 64, 64), torch.tensor([True, False]))

    assert prediction.landmarks.shape == (2, 68, 2)
    assert prediction.attention is not None and prediction.attention.response.shape == (2, 1, 2, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"backbone": "mobilenet_v2", "occlusion": "attentive_dropout"},
            "model.occlusion must be 'none'.*use resnet18",
        ),
        ({"backbone": "vanilla_cnn", "occlusion": "attentive_dropout"}, "model.occlusion must be 'none'.*use resnet18"),
        ({"backbone": "vanilla_cnn", "input_px": 96}, "model.input_px must be a multiple of 64.*got 96"),
        ({"backbone": "vanilla_cnn", "sepbn": SepBNConfig(placement="block_ends")}, "must be 'all' or 'none'"),
        ({"hidden_width": 8, "low_rank": True}, "model.hidden_width must be 0 with model.low_rank, got 8"),
    ],
)
def test_what_cannot_be_joined_is_refused(changes: dict[str, Any], words: str) -> None:
    """Before anything is built, with the field, the value and the way out."""
    with pytest.raises(ConfigError, match=words):
        replace(PLAIN, **changes)


def test_groups_that_do_not_fit_the_backbone_are_refused() -> None:
    """A batch norm of 24 channels has no 7 groups."""
    with pytest.raises(ConfigError, match=r"divide the 32 channels, got 3, 7 and 3"):
        build(replace(PLAIN, backbone="mobilenet_v2", sepbn=SepBNConfig(placement="all", groups=7)))


@pytest.mark.parametrize("placement", ["none", "block_ends"])
@pytest.mark.parametrize("backbone", PUBLISHED)
def test_torchvisions_weights_load(backbone: Any, placement: Any) -> None:
    """All but the classifier land in the trunk; where SepBN stands, the function is that of the plain trunk."""
    weights = weights_of(backbone)
    plain = build(replace(PLAIN, backbone=backbone))
    load_trunk(plain, weights, "weights.pth")
    loaded = plain.trunk.state_dict()
    classifier = PUBLISHED[backbone][2]
    assert all(torch.equal(loaded[n], value) for n, value in weights.items() if not n.startswith(classifier))
    if placement == "none":
        return

    converted = build(replace(PLAIN, backbone=backbone, sepbn=SepBNConfig(placement=placement)))
    load_trunk(converted, weights, "weights.pth")

    assert (
        sum(isinstance(m, SepBN2d) for m in converted.modules())
        == {"resnext50_32x4d": 16, "mobilenet_v2": 17}[backbone]
    )
    for model in (plain, converted):
        for batch_norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            batch_norm.momentum = 1.0  # one batch in training makes the random network's maps of a usual size
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected, got = (model.train().trunk(images) for model in (plain, converted))
    assert expected.std() > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("placement", ["none", "block_ends"])
@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (lambda w: w.pop("features.3.conv.3.weight"), "missing .'features.3.conv.3.weight"),
        (lambda w: w.update({"features.19.weight": torch.zeros(1)}), "unknown .'features.19.weight"),
        (lambda w: w.update({"features.3.conv.3.bias": torch.zeros(7)}), "another shape .'features.3.conv.3.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(broken: Any, word: str, placement: Any) -> None:
    """A missing, unknown or misshapen tensor is named with the backbone, SepBN in its place or not; none is loaded."""
    model = models.build(replace(PLAIN, backbone="mobilenet_v2", sepbn=SepBNConfig(placement=placement)))
    before = {name: value.clone() for name, value in model.trunk.state_dict().items()}
    weights = weights_of("mobilenet_v2")
    broken(weights)

    with pytest.raises(CheckpointError, match=f"weights.pth: not weights of MobileNetV2.*{word}"):
        load_trunk(model, weights, "weights.pth")

    assert all(torch.equal(before[name], value) for name, value in model.trunk.state_dict().items())


def test_another_backbones_weights_are_refused() -> None:
    """MobileNetV2's do not fit ResNet-18."""
    with pytest.raises(CheckpointError, match="not weights of ResNet18"):
        load_trunk(build(PLAIN), weights_of("mobilenet_v2"), "weights.pth")
