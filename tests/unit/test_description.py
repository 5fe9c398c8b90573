"""What `adodn describe` counts, against counting by hand.

pytest tests/unit/test_description.py
"""

import json
from dataclasses import replace

import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from adodn.cli import build
from adodn.config import ModelConfig
from adodn.models import build as build_network
from adodn.models.description import describe, describe_module


class ByHand(nn.Module):
    """A network small enough to count: a grouped convolution used twice, a product of a parameter, work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.matrix = nn.Parameter(torch.zeros(4, 5))
        self.idle = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.again(self.again(self.first(images))))
        return maps.mean(dim=(2, 3)) @ self.matrix


def test_every_figure_by_hand() -> None:
    """Parameters, multiply-accumulates and bytes of each layer of a small network, and their totals."""
    description = describe_module(ByHand(), torch.zeros(1, 3, 8, 8))
    layers = {layer.name: layer for layer in description.layers}

    map_bytes = 4 * (4 * 4 * 4)
    figures = {n: (layer.output, layer.parameters, layer.macs, layer.activation_bytes) for n, layer in layers.items()}
    assert figures == {
        "": ((5,), 4 * 5, 4 * 5, 4 * 5),
        "first": ((4, 4, 4), 3 * 4 * 9 + 4, 16 * 4 * 3 * 9, map_bytes),
        "again": ((4, 4, 4), 4 * 2 * 9, 2 * (16 * 4 * 2 * 9), 2 * map_bytes),
        "idle": ((), 6, 0, 0),
    }
    assert description.parameters == 112 + 72 + 20 + 6
    assert description.macs == 1728 + 2304 + 20
    assert description.activation_bytes == 3 * map_bytes + 20
    assert layers["again"].kind == "Conv2d"


def test_adodn_by_hand() -> None:
    """The trunk, the 1×1 convolution over all 49² pairs and the low-rank matrix, by products; no parameter is lost."""
    config = ModelConfig()
    layers = {layer.name: layer for layer in describe(config).layers}

    assert describe(config).parameters == sum(p.numel() for p in build_network(config).parameters())
    assert layers["trunk.conv1"].macs == 112 * 112 * 64 * 3 * 49
    assert layers["geometry"].macs == 49 * 49 * 64 * 64
    assert layers["head"].macs == layers["head"].parameters == (512 + 64) * 16 * 256
    assert layers["head.fc"].macs == 256 * 136
    assert layers["trunk.bn1"].macs == 0


def test_the_size_of_the_input_scales_the_work() -> None:
    """Twice the side is four times the trunk's multiply-accumulates and memory, and the same parameters."""
    plain = ModelConfig(geometry="none", occlusion="none", low_rank=False, grid=1, input_px=64)
    small, large = describe(plain), describe(replace(plain, input_px=128))
    head = 512 * 136

    assert large.parameters == small.parameters
    assert large.macs - head == 4 * (small.macs - head)


def test_the_command_prints_the_same_figures() -> None:
    """As JSON and as a table, with the recipe's changed fields."""
    words = ["describe", "adodn_rendered", "--set", "model.rank_width=32"]
    as_json = CliRunner().invoke(build("describe"), [*words, "--json"])
    as_table = CliRunner().invoke(build("describe"), words, env={"COLUMNS": "200"})

    assert as_json.exit_code == 0, as_json.output
    answer = json.loads(as_json.stdout)
    expected = describe(ModelConfig(input_px=64, grid=2, rank_width=32))
    assert answer["totals"] == {
        "parameters": expected.parameters,
        "macs": expected.macs,
        "activation_bytes": expected.activation_bytes,
    }
    assert [layer["name"] for layer in answer["layers"]] == [layer.name for layer in expected.layers]
    assert answer["input"] == [3, 64, 64]
    [total] = [line for line in as_table.stdout.splitlines() if "total" in line]
    assert f"{expected.parameters:,}" in total and f"{expected.macs / 1e6:,.1f}" in total


def test_an_unknown_field_is_one_error() -> None:
    """The message names it."""
    done = CliRunner().invoke(build("describe"), ["describe", "adodn_300w", "--set", "model.nope=1"])
    assert done.exit_code == 1 and "no field 'model.nope'" in str(done.exception)
