"""What a training starts from: a whole model, its output layer apart where the protocol is another.

pytest tests/unit/test_initial.py
"""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adodn.config import ExperimentConfig, ModelConfig
from adodn.errors import CheckpointError, ConfigError
from adodn.model_files import WEIGHTS, write_model
from adodn.models import build
from adodn.models.weights import parse_weights
from adodn.settings import Settings
from adodn.train.initial import load_whole_model
from adodn.train.model_source import read_whole_model
from tests.memory_training import small_config, small_network

BASE = small_config()


def network_of(**changes: object) -> torch.nn.Module:
    """Other random weights than `BASE`'s, of a model with dotted fields replaced."""
    config = BASE.with_fields({f"model.{name}": value for name, value in changes.items()} | {"train.seed": 1})
    return small_network(config)


def trained() -> dict[str, Tensor]:
    return small_network(BASE).state_dict()


def test_a_model_of_the_same_protocol_is_copied_whole() -> None:
    """Every weight and running statistic, with none left random."""
    network = network_of()

    assert load_whole_model(network, trained(), "here") == []

    for name, value in trained().items():
        assert torch.equal(network.state_dict()[name], value), name


@pytest.mark.parametrize("low_rank", [True, False])
def test_another_protocol_leaves_the_output_layer_random_and_names_it(low_rank: bool) -> None:
    """All else is copied, the low-rank matrix too."""
    mine = network_of(protocol="29", low_rank=low_rank)
    theirs = network_of(low_rank=low_rank).state_dict()
    before = {name: value.clone() for name, value in mine.state_dict().items()}

    random = load_whole_model(mine, theirs, "here")

    assert random == (["head.fc.bias", "head.fc.weight"] if low_rank else ["head.bias", "head.weight"])
    for name, value in mine.state_dict().items():
        assert torch.equal(value, before[name] if name in random else theirs[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank_width": 8}, r"head\.fc\.weight \[136, 4\] for \[136, 8\]"),
        ({"grid": 2}, r"head\.matrix \[520, 4\] for \[2080, 4\]"),
        ({"geometry": "none"}, r"unknown \['geometry\."),
        ({"low_rank": False}, r"missing \['head\.bias'"),
    ],
)
def test_another_network_is_refused(changes: dict[str, object], message: str) -> None:
    """The message names what differs, and nothing was copied."""
    network = network_of(**changes)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    with pytest.raises(CheckpointError, match=message):
        load_whole_model(network, trained(), "here")

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_folder_and_its_file_have_the_digest_of_the_file(tmp_path: Path) -> None:
    """So the same model has one identity, however it is named."""
    config = ExperimentConfig(name="m", model=ModelConfig(input_px=64, grid=1, rank_width=4, batch_norm_faces=4))
    network = build(config.model)
    digest = write_model(tmp_path / "model", network.state_dict(), config)[WEIGHTS]

    for source in (tmp_path / "model", tmp_path / "model" / WEIGHTS):
        content = read_whole_model(str(source), config.model.landmark_protocol, Settings())
        assert hashlib.sha256(content).hexdigest() == digest
        for name, value in parse_weights(content, "here").items():
            assert torch.equal(value, network.state_dict()[name])


def test_a_training_starts_from_one_thing() -> None:
    """Weights of a trunk and of a whole model at once are refused; the whole model is part of the fingerprint."""
    whole = BASE.with_fields({"train.initial_model": "ab"})

    assert whole.fingerprint() != BASE.fingerprint()
    with pytest.raises(ConfigError, match="not both; leave one out"):
        whole.with_fields({"model.initial_weights": "cd"})
