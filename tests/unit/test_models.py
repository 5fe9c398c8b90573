"""The network's modules against hand-made cases and plain forms of their equations.

pytest tests/unit/test_models.py
"""

from dataclasses import replace
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from adodn import recipes
from adodn.config import ExperimentConfig, LossConfig, ModelConfig
from adodn.errors import CheckpointError
from adodn.losses import loss_terms
from adodn.models import build
from adodn.models.attentive_dropout import AttentiveDropout, draw_switch
from adodn.models.batch_norm import VirtualBatchNorm2d, running_buffers
from adodn.models.distillation import Distillation
from adodn.models.geometry import GeometryModule
from adodn.models.weights import load_trunk, parse_weights
from adodn.train.optimiser import parameter_groups

SMALL = ModelConfig(input_px=64, grid=2, rank_width=8, batch_norm_faces=2)
norm = partial(VirtualBatchNorm2d, faces=2)


def faces(count: int = 4, side: int = 64, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=draws)


def dropout(threshold: float = 0.5, mode: str = "relative", **options: object) -> AttentiveDropout:
    torch.manual_seed(0)
    module = AttentiveDropout(8, 2, norm, threshold=threshold, threshold_mode=mode, **options)  # type: ignore[arg-type]
    return module.eval()


def test_drop_mask_hides_what_is_high() -> None:
    """Relative to each face's own maximum; what equals the limit stays."""
    attention = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[10.0, 10.0], [40.0, 20.0]]]])

    mask = dropout(0.5).drop_mask(attention)

    assert mask[0, 0].tolist() == [[1, 1], [0, 0]]
    assert mask[1, 0].tolist() == [[1, 1], [0, 1]]


def test_drop_mask_absolute() -> None:
    """The formula to the letter compares A itself."""
    attention = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])

    assert dropout(2.5, "absolute").drop_mask(attention)[0, 0].tolist() == [[1, 1], [0, 0]]


def test_dropout_output_is_equation_3() -> None:
    """F_out = F_in · P′ · M with M the drop mask for faces drawn and sigmoid(A) for the others; A is Eq. 2."""
    module = dropout(0.5)
    features, residual = torch.randn(2, 8, 3, 3), torch.randn(2, 8, 3, 3)

    out, seen = module(features, residual, torch.tensor([True, False]))

    attention = sum(features[:, c].abs() for c in range(8)) / 8
    assert seen.attention is not None and seen.importance is not None
    torch.testing.assert_close(seen.attention[:, 0], attention)
    response = torch.sigmoid(module.pathway(features))
    torch.testing.assert_close(seen.response, response)
    dropped = (attention[0] <= 0.5 * attention[0].max()).float()
    torch.testing.assert_close(out[0], residual[0] * response[0] * dropped)
    torch.testing.assert_close(out[1], residual[1] * response[1] * torch.sigmoid(attention[1]))
    torch.testing.assert_close(seen.importance[:, 0], torch.sigmoid(attention))


@pytest.mark.parametrize(("mask", "share"), [("importance", 0.0), ("drop", 1.0), ("expectation", 0.3)])
def test_evaluation_mask_is_that_share_of_the_drop_mask(mask: str, share: float) -> None:
    """Where nothing is drawn, F_out is the mean of what a draw with that probability gives."""
    module = dropout(0.5, evaluation_mask=mask, drop_probability=0.3)
    features, residual = torch.randn(2, 8, 3, 3), torch.randn(2, 8, 3, 3)

    evaluated = module(features, residual, None)[0]

    dropped, kept = (module(features, residual, torch.full((2,), drop))[0] for drop in (True, False))
    torch.testing.assert_close(evaluated, share * dropped + (1 - share) * kept)


def test_distillation_output_is_its_input_weighted_by_p() -> None:
    """F_out = F_in · P by loops; P is one channel between 0 and 1, the sigmoid of a 1-3-1 bottleneck of width C / r."""
    torch.manual_seed(0)
    module = Distillation(8, 2, norm).eval()
    features, residual = torch.randn(2, 8, 3, 3), torch.randn(2, 8, 3, 3)

    out, maps = module(features, residual, None)

    response = maps.response
    assert response.shape == (2, 1, 3, 3) and maps.importance is None and maps.attention is None
    assert (response > 0).all() and (response < 1).all()
    for channel in range(8):
        torch.testing.assert_close(out[:, channel], residual[:, channel] * response[:, 0])
    convolutions = [layer for layer in module.pathway if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == [
        (8, 4, 1),
        (4, 4, 3),
        (4, 1, 1),
    ]
    inside = nn.functional.relu(module.pathway[1](nn.functional.conv2d(features, convolutions[0].weight)))
    inside = nn.functional.relu(module.pathway[4](nn.functional.conv2d(inside, convolutions[1].weight, padding=1)))
    logits = nn.functional.conv2d(inside, convolutions[2].weight, convolutions[2].bias)
    torch.testing.assert_close(response, 1 / (1 + torch.exp(-logits)))


def test_odn_and_adodn_have_the_same_parameters() -> None:
    """All parts are shared: one paper's weights load into the other's network by name and shape."""
    odn, adodn = build(recipes.odn_300w().model), build(recipes.adodn_300w().model)

    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (odn, adodn)]

    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("geometry", ["outer_product", "row_column"])
def test_adodn_without_its_mask_is_odn(geometry: Literal["outer_product", "row_column"]) -> None:
    """With the same weights and a drop mask that drops nothing, both give the same landmarks: the mask is all."""
    torch.manual_seed(0)
    adodn = build(replace(SMALL, geometry=geometry, threshold_mode="absolute", drop_threshold=1e9)).eval()
    odn = build(replace(SMALL, geometry=geometry, occlusion="distillation")).eval()
    odn.load_state_dict(adodn.state_dict())
    images = faces()

    masked = adodn(images).landmarks
    unmasked = adodn(images, torch.ones(4, dtype=torch.bool)).landmarks

    assert torch.equal(unmasked, odn(images).landmarks)
    assert not torch.allclose(masked, unmasked, rtol=0, atol=1e-7)


def test_distillation_does_not_hear_of_the_draw() -> None:
    """ODN trains the same whatever the switch says."""
    torch.manual_seed(0)
    model = build(replace(SMALL, occlusion="distillation")).eval()

    answers = [model(faces(), drop).landmarks for drop in (None, torch.zeros(4).bool(), torch.ones(4).bool())]

    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])


def test_switch_is_one_draw_for_all_workers() -> None:
    """Whatever faces a worker holds, the draw of a step is the same; across steps it follows p."""
    draw = partial(draw_switch, seed=5, probability=0.5, scope="step")
    for step in range(50):
        mine = draw(step=step, positions=torch.arange(0, 16))
        other = draw(step=step, positions=torch.arange(16, 32))
        assert mine.unique().tolist() == other.unique().tolist() == [bool(mine[0])]


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_switch_follows_its_probability(probability: float) -> None:
    """Over 20,000 steps the share of drop masks lies within four standard errors of p."""
    positions = torch.zeros(1, dtype=torch.int64)
    taken = sum(
        bool(draw_switch(seed=1, step=s, probability=probability, positions=positions, scope="step"))
        for s in range(20_000)
    )

    error = (probability * (1 - probability) / 20_000) ** 0.5
    assert abs(taken / 20_000 - probability) <= 4 * error


def test_switch_per_sample_belongs_to_the_place_in_the_global_batch() -> None:
    """Two halves of a batch on two workers draw what one worker draws for the whole."""
    draw = partial(draw_switch, seed=3, step=11, probability=0.4, scope="sample")

    whole = draw(positions=torch.arange(32))
    halves = torch.cat((draw(positions=torch.arange(16)), draw(positions=torch.arange(16, 32))))

    assert torch.equal(whole, halves)
    assert 0 < whole.sum() < 32


def test_outer_product_relates_all_pairs() -> None:
    """Eq. 1 by loops: every place of pathway A times every place of B, then convolution, norm, ReLU, pool."""
    torch.manual_seed(0)
    module = GeometryModule(8, 2, "outer_product", norm).eval()
    features = torch.randn(2, 8, 2, 3)
    a, b = module.pathway_a(features), module.pathway_b(features)

    products = torch.empty(2, 4, 6, 6)
    for s in range(6):
        for t in range(6):
            products[:, :, s, t] = a[:, :, s // 3, s % 3] * b[:, :, t // 3, t % 3]
    plain = nn.functional.adaptive_avg_pool2d(torch.relu(module.norm(module.combine(products))), (2, 3))

    torch.testing.assert_close(module(features), plain)


def test_pooling_does_not_collapse_the_outer_product() -> None:
    """What a linear pool cannot see, the module does: other places of pathway B, the same means of its rows."""
    torch.manual_seed(0)
    module = GeometryModule(8, 2, "outer_product", norm).eval()
    a, b, noise = (torch.randn(1, 4, 3, 3) for _ in range(3))
    other = b + noise - noise.mean(dim=3, keepdim=True)
    pools, answers = [], []
    for pathway_b in (b, other):
        module.pathway_a, module.pathway_b = _Constant(a), _Constant(pathway_b)  # type: ignore[assignment]
        products = torch.einsum("bcs,bct->bcst", a.flatten(2), pathway_b.flatten(2))
        pools.append(nn.functional.adaptive_avg_pool2d(module.combine(products), 3))
        answers.append(module(torch.zeros(1, 8, 3, 3)))

    torch.testing.assert_close(*pools)
    assert (answers[0] - answers[1]).abs().max() > 1e-3


def test_row_column_is_a_matrix_product_per_channel() -> None:
    """ODN's reading: F_A F_Bᵀ, each answer a sum over one row of each."""
    torch.manual_seed(0)
    module = GeometryModule(8, 2, "row_column", norm).eval()
    features = torch.randn(2, 8, 3, 3)
    a, b = module.pathway_a(features), module.pathway_b(features)

    products = torch.einsum("bcik,bcjk->bcij", a, b)
    torch.testing.assert_close(module(features), torch.relu(module.norm(module.combine(products))))


class _Constant(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, _: Tensor) -> Tensor:
        return self.value


def test_evaluation_is_deterministic_and_blind_to_its_batch() -> None:
    """In evaluation a face's landmarks do not depend on the faces beside it, nor on the call."""
    torch.manual_seed(0)
    model = build(SMALL).eval()
    images = faces(5)

    together = model(images).landmarks
    alone = torch.cat([model(images[i : i + 1]).landmarks for i in range(5)])

    assert torch.equal(together, model(images).landmarks)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"geometry": "row_column"},
        {"geometry": "none"},
        {"occlusion": "none"},
        {"occlusion": "distillation", "geometry": "row_column"},
        {"low_rank": False},
        {"geometry": "none", "occlusion": "none", "low_rank": False},
    ],
)
def test_every_ablation_answers_in_shape(changes: dict[str, object]) -> None:
    """Landmarks are `[B, 68, 2]`, fp32, near the middle of the crop before training; all parameters get gradients."""
    torch.manual_seed(0)
    model = build(replace(SMALL, **changes))  # type: ignore[arg-type]

    landmarks = model(faces(4), torch.tensor([True, False, True, False])).landmarks
    landmarks.square().sum().backward()

    assert landmarks.shape == (4, 68, 2) and landmarks.dtype == torch.float32
    assert (landmarks - 0.5).abs().max() < 0.5
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_bf16_keeps_the_regression_in_fp32() -> None:
    """Under autocast the answer is fp32 and close to that of fp32."""
    torch.manual_seed(0)
    model = build(SMALL).eval()
    images = faces(4)

    with torch.autocast("cpu", torch.bfloat16):
        half = model(images).landmarks

    assert half.dtype == torch.float32
    torch.testing.assert_close(half, model(images).landmarks, rtol=0, atol=0.02)


@pytest.mark.parametrize("runs", [1, 2, 4])
def test_virtual_batch_norm_equals_stock_batch_norm_on_each_run(runs: int) -> None:
    """Values, gradients and running statistics are those of BatchNorm2d on each run, averaged."""
    torch.manual_seed(0)
    images = torch.randn(2 * runs, 3, 4, 4)
    ours, stock = VirtualBatchNorm2d(3, faces=2), [nn.BatchNorm2d(3) for _ in range(runs)]

    out = ours(images)
    expected = torch.cat([bn(run) for bn, run in zip(stock, images.split(2), strict=True)])
    (out**2).sum().backward()
    (expected**2).sum().backward()

    torch.testing.assert_close(out, expected)
    assert ours.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, torch.stack([bn.weight.grad for bn in stock]).sum(0))  # type: ignore[misc]
    means, variances = zip(*((bn.running_mean, bn.running_var) for bn in stock), strict=True)
    torch.testing.assert_close(ours.running_mean, torch.stack(means).mean(0))  # type: ignore[arg-type]
    torch.testing.assert_close(ours.running_var, torch.stack(variances).mean(0))  # type: ignore[arg-type]


def test_workers_average_to_what_one_worker_keeps() -> None:
    """Two workers with half the runs each, their running buffers averaged at the end, equal one with all."""
    torch.manual_seed(0)
    batches = torch.randn(5, 8, 3, 4, 4)
    alone, left, right = (VirtualBatchNorm2d(3, faces=2) for _ in range(3))
    for batch in batches:
        alone(batch), left(batch[:4]), right(batch[4:])

    for one, a, b in zip(running_buffers(alone), running_buffers(left), running_buffers(right), strict=True):
        torch.testing.assert_close(one, (a + b) / 2)


def test_a_batch_that_is_no_whole_number_of_runs_is_refused() -> None:
    """A rest would have statistics of its own."""
    with pytest.raises(ValueError, match="multiple of 2 faces"):
        VirtualBatchNorm2d(3, faces=2)(torch.randn(3, 3, 4, 4))


def torchvision_names() -> dict[str, Tensor]:
    """A state_dict as torchvision's ResNet-18 has it, classifier included."""
    names = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 512), "fc.bias": (1000,)}
    norms = {"bn1": 64}
    for stage, (inside, width) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
        for block in (0, 1):
            here = f"layer{stage}.{block}"
            names[f"{here}.conv1.weight"] = (width, width if block else inside, 3, 3)
            names[f"{here}.conv2.weight"] = (width, width, 3, 3)
            norms |= {f"{here}.bn1": width, f"{here}.bn2": width}
            if stage > 1 and not block:
                names[f"{here}.downsample.0.weight"] = (width, inside, 1, 1)
                norms[f"{here}.downsample.1"] = width
    state = {name: torch.randn(shape) for name, shape in names.items()}
    for name, width in norms.items():
        state |= {f"{name}.{part}": torch.rand(width) for part in ("weight", "bias", "running_mean", "running_var")}
    return state


def test_imagenet_weights_load_by_their_names() -> None:
    """All of torchvision's tensors but the classifier land in the trunk, `layer4.1` as pathway D."""
    model, weights = build(SMALL), torchvision_names()

    load_trunk(model, weights, "resnet18.pth")

    loaded = model.trunk.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items() if not name.startswith("fc."))


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (lambda w: w.pop("layer3.0.conv1.weight"), "missing"),
        (lambda w: w.update({"layer5.weight": torch.zeros(1)}), "unknown"),
        (lambda w: w.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}), "another shape"),
    ],
)
def test_other_weights_are_refused(broken: object, word: str) -> None:
    """A missing, unknown or misshapen tensor is named, and nothing is loaded."""
    model, weights = build(SMALL), torchvision_names()
    broken(weights)  # type: ignore[operator]
    before = {name: value.clone() for name, value in model.trunk.state_dict().items()}

    with pytest.raises(CheckpointError, match=word):
        load_trunk(model, weights, "resnet18.pth")

    assert all(torch.equal(before[name], value) for name, value in model.trunk.state_dict().items())


def test_pickled_code_is_not_run(tmp_path: object) -> None:
    """A weight file that holds more than tensors is refused without running it."""
    import os
    import pickle

    marker = f"{tmp_path}/ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (marker,)

    with pytest.raises(CheckpointError, match=r"evil\.pth"):
        parse_weights(pickle.dumps(Evil()), "evil.pth")
    assert not os.path.exists(marker)  # noqa: PTH110


def test_decay_groups_are_those_of_equation_6() -> None:
    """Twice γ on M, α on convolutions, λ on the linear layer, nothing on batch norms and biases; all are covered."""
    model = build(SMALL)
    weights = LossConfig(low_rank_decay=0.1, convolution_decay=0.2, head_decay=0.3)

    config = ExperimentConfig(name="groups", model=SMALL, loss=weights)
    decay = {id(p): group["weight_decay"] for group in parameter_groups(model, config) for p in group["params"]}

    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = 0.0
        if name == "head.matrix":
            expected = 0.2
        elif name == "head.fc.weight":
            expected = 0.6
        elif parameter.ndim == 4:
            expected = 0.4
        assert decay[id(parameter)] == pytest.approx(expected), name


def test_two_halves_of_a_batch_have_the_gradient_of_the_whole() -> None:
    """What two workers average is what one computes, to rounding: loss and gradient, batch norm included."""
    images, target = faces(4), torch.rand(4, 68, 2, generator=torch.Generator().manual_seed(1))
    gradients = []
    for parts in ([slice(0, 4)], [slice(0, 2), slice(2, 4)]):
        torch.manual_seed(0)
        model = build(SMALL)
        for part in parts:
            terms = loss_terms(model(images[part]), target[part], model, LossConfig())
            (terms.total(LossConfig()) / len(parts)).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])

    for whole, halves in zip(*gradients, strict=True):
        torch.testing.assert_close(halves, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()) + 1e-9)
