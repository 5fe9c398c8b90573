"""The spectra that a training's picture shows are those of its own matrices.

pytest tests/unit/test_spectrum.py
"""

import pytest
import torch

from adodn import models, recipes
from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.models import OcclusionAdaptiveNet
from adodn.settings import Settings
from adodn.train.spectrum import spectra_of_training


def spectra(config: ExperimentConfig, best: OcclusionAdaptiveNet) -> dict[str, list[float]]:
    """No initial weights are asked for, so no store is."""
    places = Settings()
    return spectra_of_training(config, best, S3Store.from_settings(places), places.weights_uri)


def network(config: ExperimentConfig, seed: int) -> OcclusionAdaptiveNet:
    torch.manual_seed(seed)
    built = models.build(config.model)
    assert isinstance(built, OcclusionAdaptiveNet)
    return built


def test_both_ends_are_torchs_singular_values() -> None:
    """The first is that of the network of the experiment's seed, the last that of what is given."""
    config = recipes.adodn_smoke().with_fields({"train.seed": 3})
    first, best = network(config, 3).low_rank_matrix, network(config, 4)
    assert first is not None and best.low_rank_matrix is not None

    found = spectra(config, best)

    assert list(found) == ["before training", "best epoch"]
    for values, matrix in zip(found.values(), (first, best.low_rank_matrix), strict=True):
        assert values == pytest.approx(torch.linalg.svdvals(matrix.detach()).tolist(), rel=1e-4)
    assert found["before training"] != found["best epoch"]


def test_looking_back_draws_nothing_from_the_process() -> None:
    """Random numbers go on as if nobody had looked."""
    config = recipes.adodn_smoke()
    best = network(config, 0)
    before = torch.get_rng_state()
    spectra(config, best)
    assert torch.equal(torch.get_rng_state(), before)


def test_looking_back_touches_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver has none to itself: a context on each that it sees would take memory of the workers there."""

    def touched(*_: object) -> None:
        raise AssertionError("a GPU was asked for its random numbers")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", touched)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: None)
    config = recipes.adodn_smoke()

    assert len(spectra(config, network(config, 0))) == 2


def test_a_network_without_the_matrix_has_no_spectrum() -> None:
    """There is nothing to show."""
    config = recipes.adodn_smoke().with_fields({"model.low_rank": False})
    assert spectra(config, network(config, 0)) == {}
